// Makes the pages live: uploads, keys, sliders, running numbers. Pages can be read without it.
const all = (what, of = document) => [...of.querySelectorAll(what)];

// where the line of pages is longer than a phone is wide, the page that is shown stands in view
document.querySelector('.top [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

const problem = async (answer) => {
  try { return (await answer.json()).detail; } catch { return `the service answered ${answer.status}`; }
};

for (const form of all('form[data-upload]')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const said = form.querySelector('[data-said]'), button = form.querySelector('button');
    const body = new FormData();
    body.append('file', form.elements.file.files[0]);
    button.disabled = true;
    said.textContent = 'importing …';
    try {
      const name = encodeURIComponent(form.elements.name.value);
      const answer = await fetch(`/v1/datasets?name=${name}`, { method: 'POST', body });
      if (answer.ok) { location.href = `/datasets/${encodeURIComponent((await answer.json()).name)}`; return; }
      said.textContent = await problem(answer);
    } catch { said.textContent = 'the service could not be reached: nothing was stored'; }
    button.disabled = false;
  });
}

// a form that changes what is kept asks first
document.addEventListener('submit', (event) => {
  const asks = event.target.dataset.asks;
  if (asks && !confirm(asks)) event.preventDefault();
});

// links, buttons and fields name their keys; Escape leaves a field
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, select, [contenteditable]');
  if (typing && event.key === 'Escape') typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const named = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!named || !named.checkVisibility()) return;
  event.preventDefault();
  if (named.matches('textarea')) named.focus(); else if (!event.repeat) named.click();
});

// Labelling. Each answer is kept in this browser, by its pair, until the service says that it has it:
// what is sent twice is one answer, and two windows cannot overwrite each other's.
const label = (desk, store) => {
  const { queue, annotator, ties } = desk.dataset, who = `${queue} ${annotator}`, kept = `label ${who} `;
  const find = (what) => desk.querySelector(what), pair = find('[data-pair]'), undo = find('[data-undo]');
  const comment = find('textarea'), count = find('[data-count]'), bar = find('progress');
  let items = [], waiting = 1, answered = null, shown = null, since = 0, busy = false, pause = 500, explain = false, timer;
  // what is left when nothing waits: `again` asks for what was skipped, `asked` says that it is known
  let skipped = 0, others = 0, again = false, asked = false;
  // the last answer can be taken back after a reload, too
  const past = [store.getItem(`last ${who}`)].filter(Boolean).map((last) => { const [item, said] = last.split(' '); return { item, said }; });

  const say = (text) => { find('[data-said]').textContent = text; };
  const pending = () => Object.keys(store).filter((key) => key.startsWith(kept));
  const keep = (item, what) => {
    const key = kept + item, before = store.getItem(key) !== null;
    // an answer that may have been sent already is taken back before the next one is sent
    store.setItem(key, JSON.stringify({ item, undo: before, ...what }));
  };
  const post = async (verb, body) => {
    const answer = await fetch(`/v1/queues/${queue}/${verb}`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ annotator, ...body }), signal: AbortSignal.timeout(20000),
    });
    if (answer.ok) return answer.json();
    const why = await problem(answer);
    throw Object.assign(new Error(why), { final: [404, 409, 422].includes(answer.status), out: [401, 403].includes(answer.status) });
  };

  const text = (words) => {
    const made = document.createElement('div');
    made.className = 'text'; made.dir = 'auto'; made.textContent = words;
    return made;
  };
  const turn = ({ role, content }) => {
    const made = document.createElement('div'), name = document.createElement('div');
    made.className = 'turn'; name.className = 'who'; name.textContent = role;
    made.append(name, text(content));
    return made;
  };
  const show = () => {
    const item = items[0], left = items.length + waiting;
    pair.hidden = !item; undo.hidden = !past.length; find('[data-over]').hidden = Boolean(item) || left > 0;
    if (answered !== null) {
      bar.max = answered + left || 1; bar.value = answered;
      count.textContent = `${answered} done, ${left} left for you`;
      find('[data-again]').hidden = !skipped; find('[data-thanks]').hidden = Boolean(skipped); find('[data-others]').hidden = !others;
      find('[data-skipped]').textContent = skipped; find('[data-others] span').textContent = others;
    }
    if (!item || item.item === shown) return;
    const turns = item.messages ?? [].concat(item.prompt ?? []).map((content) => ({ role: 'user', content }));
    find('[data-prompt]').replaceChildren(...turns.map(turn));
    for (const side of ['left', 'right']) find(`[data-${side}]`).replaceChildren(text(item[side]));
    if (shown) find('h2').focus();
    shown = item.item; since = performance.now(); pair.elements.namedItem('item').value = shown;
  };

  const send = async (key) => {
    const raw = store.getItem(key), { item, undo: back, label, comment: why, seconds } = JSON.parse(raw);
    try {
      if (back) {
        const body = await post('undo', { item });
        if (!label && items[0]?.item !== item) items.unshift(body);
      }
      if (label) {
        const { answers } = await post('answers', { answers: [{ item, label, comment: why, seconds }] });
        explain ||= Boolean(answers[0].comment_wanted);
      }
    } catch (error) {
      if (!error.final) throw error;
      store.setItem(`refused ${key}`, raw); say(error.message);
    }
    // it may have been changed while it was sent
    if (store.getItem(key) === raw) store.removeItem(key);
  };
  const sync = async () => {
    if (busy) return;
    busy = true;
    try {
      for (let key; (key = pending()[0]);) await send(key);
      if (explain && !comment.value) { location.reload(); return; }
      if (again || (items.length < 3 && waiting) || (!items.length && !asked)) {
        const found = await post('claim', again ? { n: 100, again } : { n: 5 });
        again = false; asked = !found.items.length;
        const gone = new Set([...pending().map((key) => key.slice(kept.length)), ...items.map((one) => one.item)]);
        items.push(...found.items.filter((one) => !gone.has(one.item)));
        ({ waiting, answered, skipped, for_others: others } = found);
        // what was said while the service answered is not counted there yet
        answered += pending().filter((key) => !['skip', undefined].includes(JSON.parse(store.getItem(key)).label)).length;
      }
      if (pause > 500) say('');
      pause = 500;
    } catch (error) {
      const n = pending().length, safe = n ? `; ${n} answer${n > 1 ? 's are' : ' is'} kept in this browser and sent later` : '';
      say((error.out ? `${error.message}: load this page again to sign in` : 'The service cannot be reached') + safe);
      pause = Math.min(2 * pause, 8000);
      clearTimeout(timer); timer = setTimeout(sync, pause);
    }
    busy = false;
    show();
    if (pause === 500 && pending().length) sync();
  };

  desk.addEventListener('submit', (event) => {
    event.preventDefault();
    if (event.target === undo) {
      const last = past.pop();
      store.removeItem(`last ${who}`);
      keep(last.item, { undo: true });
      if (last.left !== undefined) items.unshift(last);
      if (last.said !== 'skip') answered = Math.max(answered - 1, 0);
      asked = false;
    } else if (event.target.matches('[data-again]')) {
      again = true;
    } else if (event.target === pair && items.length) {
      // a second press of a key is not meant for a pair that nobody has seen
      if (performance.now() - since < 250) return;
      const label = event.submitter.value, { item } = items[0];
      keep(item, { label, comment: comment.value.trim() || undefined, seconds: (performance.now() - since) / 1000 });
      past.push({ ...items.shift(), said: label }); comment.value = '';
      store.setItem(`last ${who}`, label === 'skip' ? `${item} skip` : item);
      if (label !== 'skip') answered += 1;
      asked = false;
    }
    show();
    sync();
  });
  addEventListener('online', sync);
  find('[data-begin]')?.remove();
  // on a phone, who has begun knows the guidelines
  if (bar.value && matchMedia('(max-width: 46rem)').matches) find('details')?.removeAttribute('open');
  sync();
};
const desk = document.querySelector('[data-queue]');
// a browser that keeps nothing sends plain forms
if (desk) { try { label(desk, localStorage); } catch { /* the forms work without */ } }

// a slider says where it stands; one over nodes shows what belongs to its node
const slid = (slider) => {
  for (const out of all(`output[for="${CSS.escape(slider.id)}"]`)) out.textContent = slider.value;
  if (!slider.dataset.nodes) return;
  for (const one of all(`#${slider.dataset.nodes} [data-node]`)) one.hidden = one.dataset.node !== slider.value;
  for (const dot of all(`#${slider.dataset.nodes} [data-dot]`)) dot.classList.toggle('chosen', dot.dataset.dot === slider.value);
  slider.setAttribute('aria-valuetext', slider.closest('fieldset').querySelector('[data-node]:not([hidden])').dataset.words);
};
document.addEventListener('input', (event) => { if (event.target.type === 'range') slid(event.target); });
const reveal = () => { for (const slider of all('input[data-nodes]')) { slider.closest('fieldset').hidden = false; slid(slider); } };
document.addEventListener('htmx:after:swap', reveal);
reveal();
