# The rigs of tests/faults: each program is its own file and what it shares with the others.

FAULTS := $(addprefix $(BUILD)/faults/,server swarm proxy)

faults: $(FAULTS)

$(BUILD)/faults/%: $(BUILD)/obj/tests/faults/%.o $(call obj,tests/faults/ledger.c) $(BUILD)/libframed.a
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(LIBS)

$(BUILD)/faults/swarm: $(call obj,tests/faults/caller.c tests/faults/rude.c tests/faults/ways.c)
$(BUILD)/faults/server: $(call obj,tests/faults/ways.c)

.PHONY: faults
