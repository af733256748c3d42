# Which tests are built for Windows; included by the Makefile when TARGET=windows.

# Left out: test_net* speak through POSIX sockets of their own, many of them Unix sockets (test_win_echo and the tool tests
# stand for them here); test_rigs forks, to see the guard page end a child;
# test_os_posix* and test_host_posix* say in their names why.
UNIT    := $(filter-out tests/unit/test_net%.c tests/unit/test_rigs.c tests/unit/test_os_posix%.c tests/unit/test_host_posix%.c,$(UNIT)) $(wildcard tests/win/test_*.c)
SUPPORT := $(filter-out tests/support/net%.c,$(SUPPORT))

# What the rigs need of POSIX and MinGW has not: tests/win/posix.c, linked like cmocka. setjmp must not unwind: the simulator's
# actors have stacks of their own.
CMOCKA += $(call obj,tests/win/posix.c)
$(patsubst %.c,$(BUILD)/tests/%.exe,$(notdir $(UNIT) $(SIM) $(WORLD))): | $(CMOCKA)
$(BUILD)/obj/tests/%: private CPPFLAGS += -isystem tests/win/posix -isystem $(BUILD)/cmocka/include -DCMOCKA_STATIC -D__USE_MINGW_SETJMP_NON_SEH

$(BUILD)/tests/test_win%.exe: $(BUILD)/obj/tests/win/test_win%.o $(call obj,$(filter src/cli/host_win%.c,$(CLI))) $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(CMOCKA) $(LIBS)
