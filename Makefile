# Redoubt. `make test` is the whole proof: it installs the genuine clients into the cache folder and runs
# everything; `go test ./...` alone needs neither network nor clients.

GO      ?= go
export CGO_ENABLED = 0
CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/redoubt
OPENAPI ?= ../shared/spec/openapi/data-plane
FLAGS    = -trimpath -ldflags=-s

.PHONY: build test unit alerts clients runbook compat issuers terraform kill race lint fuzz bench drill clean

build: ## both programs, static, into bin/
	$(GO) build $(FLAGS) -o bin/ ./cmd/...

test: build unit alerts lint kill runbook compat issuers ## everything CI runs

unit: ## the tests that need no network
	@test/stage "go vet" $(GO) vet ./...
	@test/stage "unit tests" $(GO) test ./...

alerts: ## alert rules and dashboard, by Prometheus' own parser and engine
	@test/stage "alerts" $(GO) -C test/alerts test .

clients: ## install genuine az and Azurite into the cache folder
	@test/stage "clients" test/clients/install "$(CACHE)"

runbook: build clients ## the documented procedure, by genuine clients, command for command
	@$(GO) build -o bin/runbook ./test/runbook
	@test/stage "runbooks" bin/runbook -cache "$(CACHE)"

compat: build clients ## every key operation by the SDKs of four languages and az; what they said, against Microsoft's OpenAPI documents
	@$(GO) build $(FLAGS) -o bin/compat ./test/compat
	@$(GO) build $(FLAGS) -o bin/compat-az ./test/compat/az
	@$(GO) build -C test/compat/go $(FLAGS) -o ../../../bin/compat-go .
	@$(GO) build -C test/compat/oracle $(FLAGS) -o ../../../bin/compat-oracle .
	@test/stage "oracle" $(GO) -C test/compat/oracle test .
	@test/stage "compat" bin/compat -cache "$(CACHE)" -documents "$(OPENAPI)" $(and $(UPDATE),-update)

issuers: build clients ## redoubtd serve with tokens of others: of a real Keycloak by SDKs, of Entra ID's shape by az
	@$(GO) build $(FLAGS) -o bin/issuers ./test/issuers
	@$(GO) build -C test/issuers/go $(FLAGS) -o ../../../bin/issuers-go .
	@test/stage "issuers" bin/issuers -cache "$(CACHE)"

terraform: build ## a whole configuration by the genuine Terraform and azurerm, which are yours: see test/terraform/README.md
	@$(GO) build -o bin/terraform-trial ./test/terraform
	@test/stage "terraform" bin/terraform-trial $(and $(TERRAFORM),-program "$(TERRAFORM)")

kill: ## SIGKILL of a real server at many moments, and what is there afterwards
	@test/stage "kill" $(GO) run ./test/kill

race: ## the unit tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race ./...

lint: ## golangci-lint at its pinned version, from the module proxy
	@test/stage "lint" test/clients/lint "$(CACHE)"

fuzz: ## every fuzz target for FUZZTIME (default 60s)
	@test/fuzz "$(or $(FUZZTIME),60s)"

bench: build ## figures: requests per second beside the bare primitive, drill, 10,000 keys
	@test/bench

drill: ## the whole procedure on throwaway HSMs
	$(GO) run ./cmd/redoubtd drill

clean:
	rm -rf bin drill-report.json
