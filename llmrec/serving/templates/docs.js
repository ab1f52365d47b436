"use strict";
// Sends a request of the page and shows the answer as text; asks no other host.
const key = document.getElementById("key");
for (const form of document.querySelectorAll("form")) {
  const { method, path } = form.dataset;
  const output = form.querySelector("output");
  const answer = form.querySelector(".answer");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.textContent = "…";
    const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
    const body = method === "POST" ? form.elements.body.value : undefined;
    try {
      const given = await fetch(path, { method, headers, body });
      const text = await given.text();
      output.textContent = `${given.status}`;
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: as it came */ }
      answer.querySelector("code").textContent = shown;
      answer.hidden = false;
    } catch (error) {
      output.textContent = `no answer: ${error.message}`;
    }
  });
  form.querySelector("[data-copy]").addEventListener("click", async () => {
    const curl = form.querySelector(".curl");
    try {
      await navigator.clipboard.writeText(curl.textContent);
      output.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(curl);
      output.textContent = "selected: copy it with the keyboard";
    }
  });
}
