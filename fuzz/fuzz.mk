# The fuzzers (included by the Makefile): harnesses that libFuzzer, AFL++, the tests and the coverage report share.
# They are built with make itself, in folders of their own: fuzz/run.sh and fuzz/cover.sh say how.

FUZZ := $(filter-out fuzz/entry.c fuzz/replay.c,$(wildcard fuzz/*.c))
ifneq ($(SODIUM),1)
FUZZ := $(filter-out fuzz/fuzz_handshake.c fuzz/fuzz_records.c,$(FUZZ))
endif
FUZZ_OBJ := $(call obj,$(FUZZ) tests/support/meter.c tests/support/vectors.c $(SIMULATOR) $(PROTO) $(SRC))
FUZZ_OBJ += $(call obj,$(addprefix src/cli/,options.c option_table.c output.c histogram.c record.c replay.c keyfile.c inspect.c inspect_show.c inspect_stats.c))

$(BUILD)/obj/fuzz/%: private CPPFLAGS += -Itests/support
$(BUILD)/obj/tests/sim/test_sim_fuzz.o: private CPPFLAGS += -Ifuzz

# The committed inputs and those of the vectors, once more with whatever compiler the tests have.
$(BUILD)/tests/test_sim_fuzz$(EXE): $(BUILD)/obj/tests/sim/test_sim_fuzz.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(CMOCKA) $(LIBS)

$(BUILD)/fuzz/replay: $(call obj,fuzz/replay.c) $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ -lcmocka $(LIBS)

# One program; by what name it is called says which harness it runs.
$(BUILD)/fuzz/fuzzer: $(call obj,fuzz/entry.c) $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ -lcmocka $(LIBS)

.PHONY: fuzz fuzz-cover fuzz-merge
fuzz:
	@BUILD=$(BUILD) fuzz/run.sh $(or $(SECONDS),60)

fuzz-cover:
	@BUILD=$(BUILD) PYTHON=$(PYTHON) fuzz/cover.sh

fuzz-merge:
	@BUILD=$(BUILD) fuzz/merge.sh
