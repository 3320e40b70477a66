
"use strict";
// The page is whole without this: it filters findings, and unfolds everything for paper.
for (const form of document.querySelectorAll("form.filters")) {
  const findings = [...form.parentElement.querySelectorAll("li.finding")];
  const controls = [...form.querySelectorAll("select")];
  const count = form.querySelector(".count");
  const matches = (finding, control) => {
    const wanted = control.value;
    const has = finding.dataset[control.dataset.filter];
    return wanted === "" || (control.dataset.filter === "severity" ? Number(has) >= Number(wanted) : has === wanted);
  };
  const apply = () => {
    let shown = 0;
    for (const finding of findings) {
      finding.hidden = !controls.every((control) => matches(finding, control));
      shown += finding.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${findings.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  // Browsers restore what was chosen before the page was loaded again.
  apply();
}
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const details of unfolded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of unfolded) details.open = false;
});
