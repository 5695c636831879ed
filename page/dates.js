// Days of the reader's zone, as they stand in an address (2026-01-31), and the times that the API takes.

/** The day of a moment. */
export function dayOf(date) {
  const two = (number) => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** Today, or some days before. */
export function daysAgo(days) {
  const now = new Date();
  return dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - days));
}

/** Some days before a day. */
export function dayBefore(day, days) {
  const [year, month, date] = day.split('-').map(Number);
  return dayOf(new Date(year, month - 1, date - days));
}

/** When a day begins, as RFC 3339. What is no day is left as it is: the API says what is wrong with it. */
export function startOf(day) {
  return moment(day, 0);
}

/** When a day is over. */
export function endOf(day) {
  return moment(day, 1);
}

/** How many days lie between two, both included. */
export function daysBetween(from, to) {
  return Math.round((new Date(`${to}T00:00`) - new Date(`${from}T00:00`)) / 86400000) + 1;
}

function moment(day, later) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)$/.exec(day ?? '');
  if (!parts) return day;
  const [, year, month, date] = parts.map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}
