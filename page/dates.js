// Days in the reader's time zone, as written in addresses (2026-01-31), and the times that the API
// takes.

export function dayOf(date) {
  const two = (number) => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

export function daysAgo(days) {
  const now = new Date();
  return dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - days));
}

export function dayBefore(day, days) {
  const [year, month, date] = day.split('-').map(Number);
  return dayOf(new Date(year, month - 1, date - days));
}

/**
 * The start of a day, as RFC 3339. Anything else is returned as it is: the API reports what is
 * wrong with it.
 */
export function startOf(day) {
  return moment(day, 0);
}

/** The end of a day, which is the start of the next one. */
export function endOf(day) {
  return moment(day, 1);
}

/** The number of days in a range, both ends included. */
export function daysBetween(from, to) {
  return Math.round((new Date(`${to}T00:00`) - new Date(`${from}T00:00`)) / 86400000) + 1;
}

function moment(day, later) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)$/.exec(day ?? '');
  if (!parts) return day;
  const [, year, month, date] = parts.map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}
