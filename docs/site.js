// An option such as --data-dir is one word, though browsers break lines at its hyphens.
for (const code of document.querySelectorAll(".md-typeset :not(pre) > code")) {
  if (code.textContent.length <= 32) code.classList.add("short");
}
