"""Look of the page: options of `gr.mount_gradio_app`."""

from pathlib import Path
from typing import Any

import gradio as gr

TITLE = "What flower is this?"

STATIC = Path(__file__).parent / "static"

# System fonts: the page loads nothing from other servers.
_THEME = gr.themes.Default(
    primary_hue="rose",
    neutral_hue="stone",
    radius_size="lg",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
    link_text_color_hover="*primary_800",
    link_text_color_hover_dark="*primary_200",
    link_text_color_active="*primary_800",
    link_text_color_active_dark="*primary_200",
    link_text_color_visited="*primary_700",
    link_text_color_visited_dark="*primary_300",
    stat_background_fill="*primary_400",
    stat_background_fill_dark="*primary_500",
)

DESCRIPTION = "Identify the flower in a photo, with its probability and what the model saw."

_SCRIPTS = [
    (STATIC / f"{name}.js").read_text(encoding="utf-8")
    for name in ("common", "identify", "other_tabs")
]

PAGE: dict[str, Any] = {
    "theme": _THEME,
    "css": (STATIC / "style.css").read_text(encoding="utf-8"),
    "js": f"() => {{\n{''.join(_SCRIPTS)}}}",
    "head": f'<meta name="description" content="{DESCRIPTION}">'
    # Gradio would apply a rule in `css` only below this element.
    "<style>@media (max-width: 480px) { main.fillable, .main.fillable.app { padding: .25rem 1rem .5rem } }</style>",
    "favicon_path": str(STATIC / "icon.svg"),
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "pwa": False,  # see manifest.json: the addresses in Gradio's lack the root path
    "ssr_mode": False,
    "mcp_server": False,
}
