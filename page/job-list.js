// Keeps a displayed page of jobs up to date as jobs change.

import { announce } from './announce.js';
import { endOf, startOf } from './dates.js';
import { el } from './dom.js';
import { t } from './i18n.js';
import { rowOf } from './table.js';

/**
 * Updates rows in place, and inserts new ones in order without moving the rows that are being read.
 */
export class JobList {
  constructor({ body, row }, page, params, size, showCount) {
    Object.assign(this, { body, row, params, size, showCount });
    this.jobs = page.items;
    this.isFirst = !params.cursor;
    this.hasMore = page.next_cursor !== null;
    this.unseen = new Set();
  }

  get isEmpty() {
    return this.jobs.length === 0;
  }

  /** Applies a new or changed job. */
  apply(job) {
    const at = this.jobs.findIndex((shown) => isSame(shown, job));
    if (at >= 0) {
      const finishedBefore = this.jobs[at].finished_at;
      // A job that no longer matches stays where the reader saw it, and is marked.
      const stays = finishedBefore === job.finished_at || !this.matches(job);
      this.jobs[at] = { ...job, finished_at: stays ? finishedBefore : job.finished_at };
      if (stays) return this.replace(job);
      this.remove(at);
      this.insert(job);
      return;
    }
    if (!this.matches(job)) return;
    if (this.isFirst) this.insert(job);
    else this.countNew(this.unseen.add(`${job.account}/${job.msg_id}`).size);
  }

  /** Announces the jobs that were not in the list before it was reloaded. */
  announceSince(before) {
    const count = this.jobs.filter((job) => !before.jobs.some((shown) => isSame(shown, job))).length;
    if (count > 0) announce('jobs.new', count);
  }

  countNew(count) {
    if (count > 0) announce('jobs.new', count);
    this.showCount(count);
  }

  /** True if the job matches the filters. */
  matches(job) {
    const { account, outcome, code, check_state: check, from, to, msg_id: msgId } = this.params;
    const finished = Date.parse(job.finished_at);
    return (!account || account === job.account)
      && (!outcome || outcome === job.outcome)
      && (!code || Number(code) === job.reason?.code)
      && (!check || Number(check) === job.check_state)
      && (!from || finished >= Date.parse(startOf(from)))
      && (!to || finished < Date.parse(endOf(to)))
      && (!msgId || msgId === job.msg_id);
  }

  replace(job) {
    const row = this.row(job);
    if (!this.matches(job)) mark(row);
    const before = rowOf(this.body, row.dataset.key);
    const focused = before.contains(document.activeElement);
    before.replaceWith(row);
    if (focused) row.querySelector('a').focus({ preventScroll: true });
    flash(row);
    announce('jobs.changed', 1);
  }

  insert(job) {
    let at = this.jobs.findIndex((shown) => isBefore(job, shown));
    if (at < 0) {
      // It belongs to a later page.
      if (this.hasMore) return;
      at = this.jobs.length;
    }
    this.jobs.splice(at, 0, job);
    const row = this.row(job);
    this.keepingScroll(() => {
      this.body.insertBefore(row, this.body.rows[at] ?? null);
      if (this.jobs.length > this.size) {
        this.remove(this.jobs.length - 1);
        this.hasMore = true;
      }
    });
    flash(row);
    announce('jobs.new', 1);
  }

  remove(at) {
    this.jobs.splice(at, 1);
    this.body.rows[at].remove();
  }

  /** Keeps the topmost visible row where it is, unless the list is scrolled to its start. */
  keepingScroll(change) {
    const anchor = [...this.body.rows].find((row) => row.getBoundingClientRect().bottom > 0);
    const isFromTop = anchor === this.body.rows[0] && anchor.getBoundingClientRect().top >= 0;
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (anchor && !isFromTop && anchor.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - before);
  }
}

function isSame(one, other) {
  return one.account === other.account && one.msg_id === other.msg_id;
}

/** The order of the list: time, account and id, all descending. */
function isBefore(one, other) {
  const [first, second] = [one, other].map((job) => [Date.parse(job.finished_at), job.account, BigInt(job.msg_id)]);
  for (let part = 0; part < first.length; part++) {
    if (first[part] !== second[part]) return first[part] > second[part];
  }
  return false;
}

function mark(row) {
  row.classList.add('unmatched');
  row.querySelector('.outcome').append(el('span', { class: 'small unmatched-note' }, t('jobs.unmatched')));
}

function flash(row) {
  row.classList.add('changed');
  row.addEventListener('animationend', () => row.classList.remove('changed'), { once: true });
}
