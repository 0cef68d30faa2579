# What `sam build` runs for the function of template.yaml: in the project's folder, with ARTIFACTS_DIR set. SAM does not tell a
# makefile the architecture, but template.yaml can choose the makefile by it: there is one for each, which includes this.
.PHONY: build-ExtismFunction
build-ExtismFunction:
	uv run --no-dev --group local extism-lambda build --arch "$(ARCHITECTURE)" --out "$(ARTIFACTS_DIR)"
