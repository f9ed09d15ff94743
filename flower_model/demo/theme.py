"""How the page looks, and how build_demo's page wants to be launched."""

from pathlib import Path
from typing import Any

import gradio as gr

TITLE = "What flower is this?"

_HERE = Path(__file__).parent

# Fonts of the reader's own system: the page asks nobody but its server for anything.
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

_HEAD = (
    '<meta name="description" content="Show it a photo of a flower and it tells you its name, '
    'how sure it is, and what it looked at.">'
)

# `build_demo(model, name).launch(**PAGE)`
PAGE: dict[str, Any] = {
    "theme": _THEME,
    "css": (_HERE / "style.css").read_text(encoding="utf-8"),
    "js": (_HERE / "page.js").read_text(encoding="utf-8"),
    "head": _HEAD,
    "favicon_path": str(_HERE / "icon.svg"),
    "footer_links": ["api"],
    "run_history": False,
    "enable_monitoring": False,
    "state_session_capacity": 100,  # nothing of ours is kept, and Gradio's 10,000 take gigabytes
    "ssr_mode": False,
    "max_file_size": "100mb",
}
