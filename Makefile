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

quick:
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

test:
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10
