# What `make compare` needs besides the programs of bench/ (included by the Makefile). compare.py installs the packages, and then
# builds these one by one: a peer whose package cannot be had is said to be missing, and the others go on.

LIBS_zmq := -lzmq
LIBS_nng := -lnng
LIBS_uv  := -luv

$(BUILD)/obj/bench/compare/%: private CPPFLAGS += -Ibench

$(BUILD)/compare/%: $(BUILD)/obj/bench/compare/%.o $(call obj,bench/load.c bench/tally.c bench/generate.c)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(LIBS_$*)

$(BUILD)/compare/zmq $(BUILD)/compare/nng: $(call obj,bench/compare/peer.c)

# QUICK=1: whether it works at all, in less than a minute. ROUNDS=25: more of them. WRITE=FILE: another page than docs/performance.md.
.PHONY: compare
compare: benches
	@BUILD=$(BUILD) CC='$(CC)' $(PYTHON) bench/compare/compare.py $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	    $(if $(WRITE),--write $(WRITE))
