// Makes the pages live: uploads, keys, sliders, running numbers. Pages can be read without it.
const all = (what, of = document) => [...of.querySelectorAll(what)];

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

// j and k lead to the next and the previous one; other keys are links that name theirs
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, select, [contenteditable]');
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  if (link) { event.preventDefault(); link.click(); }
});

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
