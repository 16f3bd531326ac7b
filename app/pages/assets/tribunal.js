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
