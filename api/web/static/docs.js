// The page of the API takes the colours that the system asks for.
const COLOURS = {
  dark: { "theme": "dark", "bg-color": "#0a0c11", "text-color": "#d7dce6", "primary-color": "#ffb25c", "nav-bg-color": "#141822", "nav-text-color": "#b6bfce", "nav-hover-bg-color": "#1c2230", "nav-accent-color": "#ffb25c" },
  light: { "theme": "light", "bg-color": "#ffffff", "text-color": "#1a2030", "primary-color": "#b4540a", "nav-bg-color": "#f4f5f8", "nav-text-color": "#3a4356", "nav-hover-bg-color": "#e8eaf0", "nav-accent-color": "#b4540a" },
};

const light = matchMedia("(prefers-color-scheme: light)");

function colour() {
  const page = document.querySelector("rapi-doc");
  for (const [name, value] of Object.entries(COLOURS[light.matches ? "light" : "dark"])) page.setAttribute(name, value);
}

light.addEventListener("change", colour);
colour();
