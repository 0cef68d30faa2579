# What `sam build` runs for the function of template.yaml, in this folder and with ARTIFACTS_DIR set. SAM does not tell the
# architecture: for arm64, `ARCHITECTURE=arm64 sam build` beside `--parameter-overrides Architecture=arm64`.
ARCHITECTURE ?= x86_64

.PHONY: build-ExtismFunction
build-ExtismFunction:
	uv run --no-dev --group local extism-lambda build --arch "$(ARCHITECTURE)" --out "$(ARTIFACTS_DIR)"
