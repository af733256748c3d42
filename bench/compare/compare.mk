# Those that framed is compared with (included by the Makefile), each built by itself: not every machine has all the packages.

LIBS_zmq := -lzmq
LIBS_nng := -lnng
LIBS_uv  := -luv

$(BUILD)/obj/bench/compare/%: CPPFLAGS += -Ibench

$(BUILD)/compare/%: $(BUILD)/obj/bench/compare/%.o $(call obj,bench/load.c bench/tally.c bench/generate.c)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(LIBS_$*)

$(BUILD)/compare/zmq $(BUILD)/compare/nng: $(call obj,bench/compare/peer.c)
