"""The Hub's validation of README.md metadata, as far as it concerns models and Spaces."""

import re
from typing import Any

import yaml

BLOCK = re.compile(r"^\s*---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|$)")
LICENSES = [
    "apache-2.0",
    "mit",
    "openrail",
    "bigscience-openrail-m",
    "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m",
    "afl-3.0",
    "artistic-2.0",
    "bsl-1.0",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "c-uda",
    "cc",
    "cc0-1.0",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "wtfpl",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "etalab-2.0",
    "eupl-1.1",
    "eupl-1.2",
    "agpl-3.0",
    "gfdl",
    "gpl",
    "gpl-2.0",
    "gpl-3.0",
    "lgpl",
    "lgpl-2.1",
    "lgpl-3.0",
    "isc",
    "mpl-2.0",
    "ms-pl",
    "odc-by",
    "odbl",
    "openrail++",
    "osl-3.0",
    "postgresql",
    "ofl-1.1",
    "ncsa",
    "unlicense",
    "zlib",
    "pddl",
    "unknown",
    "other",
]
COLORS = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
SDKS = ["gradio", "docker", "static", "streamlit"]


def metadata_of(readme: str) -> dict[str, Any]:
    """Return the front matter; empty if missing or invalid."""
    block = BLOCK.match(readme)
    try:
        read = yaml.safe_load(block[1]) if block else None
    except yaml.YAMLError:
        return {}
    return read if isinstance(read, dict) else {}


def card_errors(readme: str, repo_type: str) -> list[dict[str, str]]:
    """Return the validation errors of a README.md in the Hub's format."""
    block = BLOCK.match(readme)
    try:
        read = yaml.safe_load(block[1]) if block else {}
    except yaml.YAMLError as error:
        return [{"message": f"YAML Metadata Error: {str(error).splitlines()[0]}"}]
    if not isinstance(read, dict | None):
        return [{"message": "YAML Metadata Error: must be of type object"}]
    problems = _space_problems(read or {}) if repo_type == "space" else _model_problems(read or {})
    return [{"message": problem} for problem in problems]


def _model_problems(card: dict[str, Any]) -> list[str]:
    problems = [
        f'"license" must be one of [{", ".join(LICENSES)}, array]'
        for name in _as_list(card.get("license"))
        if name not in LICENSES
    ]
    for key in ("tags", "datasets", "metrics"):
        if not all(isinstance(name, str) for name in _as_list(card.get(key))):
            problems.append(f'"{key}" must be an array of strings')
    models = card.get("model-index") or []
    if not isinstance(models, list):
        return [*problems, '"model-index" must be an array']
    for n, model in enumerate(models):
        at = f"model-index[{n}]"
        problems += _missing(model, at, "name", "results")
        for m, result in enumerate(model.get("results", [])):
            here = f"{at}.results[{m}]"
            problems += _missing(result, here, "task", "dataset", "metrics")
            problems += _missing(result.get("task", {}), f"{here}.task", "type")
            problems += _missing(result.get("dataset", {}), f"{here}.dataset", "name", "type")
            for k, metric in enumerate(result.get("metrics", [])):
                problems += _missing(metric, f"{here}.metrics[{k}]", "type", "value")
    return problems


def _space_problems(card: dict[str, Any]) -> list[str]:
    problems = []
    if card.get("sdk") not in SDKS:
        problems.append(f'"sdk" must be one of [{", ".join(SDKS)}]')
    for key in ("colorFrom", "colorTo"):
        if key in card and card[key] not in COLORS:
            problems.append(f'"{key}" must be one of [{", ".join(COLORS)}]')
    if "sdk_version" in card and not isinstance(card["sdk_version"], str):
        problems.append('"sdk_version" must be a string')
    if len(card.get("short_description", "")) > 60:
        problems.append(
            '"short_description" length must be less than or equal to 60 characters long'
        )
    return problems


def _missing(value: Any, at: str, *keys: str) -> list[str]:
    return [f'"{at}.{key}" is required' for key in keys if key not in value]


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
