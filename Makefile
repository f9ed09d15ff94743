# The checks of .ci/run, one by one. They use the tools of the active environment:
# pip install -e ".[train,dev]"

.PHONY: check lint types quick test

check: lint types quick

lint:
	ruff format --check .
	ruff check .
	codespell .
	lint-imports

types:
	mypy flower_model training app.py

quick:  # without the plugin of Hypothesis, which takes a second to import; its tests are slow
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not browser" -p no:hypothesispytest

test:
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10
