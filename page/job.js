// One job: its result and counts, its articles with their originality check, and every delivery
// received for it.

import { get, jobPath } from './api.js';
import { deliveryCard } from './delivery.js';
import { el, externalLink, fill, outside } from './dom.js';
import { funnel } from './funnel.js';
import { number, t, time } from './i18n.js';
import { onGap, onJob } from './live.js';
import { badge, checkState, copyright, originalType, reasonText } from './meaning.js';
import { href } from './route.js';
import { Loader } from './states.js';
import { announce } from './announce.js';

export function jobView(root, signal) {
  const heading = el('h1', { tabindex: '-1' });
  const links = el('p', { class: 'breadcrumb' });
  const summary = el('div');
  const history = el('section', { 'aria-labelledby': 'history' });
  const received = el('div');
  fill(history, el('h2', { id: 'history' }, t('job.history')), el('p', { class: 'muted' }, t('job.historyNote')), received);
  fill(root, links, heading, summary, history);

  let account;
  let msgId;
  const job = new Loader(summary, draw, signal);
  const deliveries = new Loader(received, ({ items }) => items.map((delivery, index) =>
    deliveryCard(delivery, { position: `${number(index + 1)} / ${number(items.length)}` })), signal);
  const load = (options) => {
    job.load((stop) => get(jobPath(account, msgId), {}, stop), options);
    deliveries.load((stop) => get(`${jobPath(account, msgId)}/deliveries`, {}, stop), options);
  };

  onJob((changed) => {
    if (changed.account !== account || changed.msg_id !== msgId) return;
    announce('jobs.changed', 1);
    load({ quietly: true });
  }, signal);
  onGap(() => load({ quietly: true }), signal);
  return {
    title: () => `${t('job.title', msgId)} · ${account}`,
    update(route) {
      [, account, msgId] = route.segments;
      fill(heading, t('job.title', ''), outside(msgId));
      fill(links, el('a', { href: href(['jobs']) }, t('job.back')), ' / ',
        el('a', { href: href(['jobs'], { account }), 'aria-label': `${t('job.ofAccount')}: ${account}` }, outside(account)));
      load();
    },
  };
}

function draw(job) {
  return [
    el('section', { class: `card verdict ${job.outcome}`, 'aria-label': t('job.result') },
      el('p', { class: 'verdict-line' }, badge(job.outcome), ' ', el('span', {}, t(`outcome.${job.outcome}.long`))),
      job.reason && el('p', { class: 'reason' }, reasonText(job)),
      facts([
        [t('job.status'), job.status === null ? '–' : el('code', { class: 'raw' }, outside(job.status))],
        [t('job.check'), checkState(job.check_state)],
        [t('job.finished'), time(job.finished_at)],
        [t('job.firstReceived'), time(job.first_received_at)],
        [t('job.lastReceived'), time(job.last_received_at)],
        [t('job.updated'), time(job.updated_at)],
        [t('job.deliveries'), number(job.deliveries)],
        [t('job.revision'), number(job.revision)],
        [t('job.toUser'), job.to_user_name === null ? '–' : outside(job.to_user_name)],
        [t('job.fromUser'), job.from_user_name === null ? '–' : outside(job.from_user_name)],
      ])),
    el('section', { class: 'card', 'aria-labelledby': 'counts' }, el('h2', { id: 'counts' }, t('job.counts')), funnel(job)),
    el('section', { class: 'card', 'aria-labelledby': 'articles' }, el('h2', { id: 'articles' }, t('job.articles')), articles(job)),
  ];
}

function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.map(([term, value]) => el('div', {}, el('dt', {}, term), el('dd', {}, value))));
}

function articles(job) {
  if (job.articles.length === 0) return el('p', { class: 'muted' }, t('job.noArticles'));
  return el('ol', { class: 'articles' }, job.articles.map((article) => el('li', {},
    el('p', { class: 'article-head' }, el('span', { class: 'code' }, number(article.idx)), ' ',
      article.url === null ? el('span', { class: 'muted' }, t('job.noLink')) : externalLink(article.url)),
    originality(article.copyright))));
}

function originality(check) {
  if (check === null) return el('p', { class: 'muted' }, t('job.noCopyright'));
  const type = originalType(check);
  return el('ul', { class: 'originality', 'aria-label': t('job.copyright') },
    copyright(check).map((sentence) => el('li', {}, sentence)),
    check.original_url !== null && el('li', {}, t('job.original'), ' ', externalLink(check.original_url), type !== null && ` (${type})`));
}
