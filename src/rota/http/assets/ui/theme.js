// Before anything is painted: the theme that was chosen, if one was. Else the system's own holds.
try {
  const theme = localStorage.getItem("rota-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* a browser that keeps nothing has the system's theme */ }
