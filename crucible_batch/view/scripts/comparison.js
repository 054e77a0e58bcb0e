// The comparison is drawn by the server; only the theme needs a script.
setUpTheme();
