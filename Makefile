# GNU Makefile of framed. `make help` lists the targets.
# Honoured: CC AR CFLAGS CPPFLAGS LDFLAGS PREFIX LIBDIR INCLUDEDIR BINDIR DESTDIR BUILD WERROR=1

CC      ?= cc
AR      ?= ar
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BUILD   ?= build
PYTHON  ?= python3

VERSION := $(shell sed -n 's/^\#define FRAMED_VERSION  *"\(.*\)"/\1/p' include/framed/framed.h)
SOMAJOR := 0
SONAME  := libframed.so.$(SOMAJOR)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla
ifeq ($(WERROR),1)
WARN += -Werror
endif
# What we need comes first, what the user asks for last, so that the user wins.
COMPILE = $(CC) -std=c11 $(WARN) -Iinclude -Iproto -Isrc -Isrc/os -fvisibility=hidden -pthread $(CPPFLAGS) $(CFLAGS) -MMD -MP
LINK    = $(CC) -pthread $(CFLAGS) $(LDFLAGS)

PROTO := $(wildcard proto/*.c)
SRC   := $(wildcard src/*.c)
OS    := $(wildcard src/os/os_posix*.c)
CLI   := $(filter-out src/cli/host_win.c,$(wildcard src/cli/*.c))
BENCH := $(filter-out bench/load.c,$(wildcard bench/*.c))
UNIT  := $(wildcard tests/unit/test_*.c)
SIM   := $(wildcard tests/sim/test_*.c)
SUPPORT := $(filter-out tests/support/sim.c,$(wildcard tests/support/*.c))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ := $(call obj,$(PROTO) $(SRC) $(OS))
PIC_OBJ := $(patsubst %.c,$(BUILD)/pic/%.o,$(PROTO) $(SRC) $(OS))
CLI_OBJ := $(call obj,$(CLI))
# What the unit tests see of the tool: everything but its main and what acts.
CLI_UNIT := $(call obj,$(filter src/cli/options.c src/cli/output.c src/cli/input.c,$(CLI)))
TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT)) $(patsubst tests/sim/%.c,$(BUILD)/tests/%,$(SIM))
SLOW    := $(BUILD)/tests/words
BENCHES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCH))

.PHONY: all test demo check layers bench install uninstall clean format lint help test-deps tests fuzz
.DEFAULT_GOAL := all
.SECONDARY:

all: $(BUILD)/framed $(BUILD)/libframed.a $(BUILD)/$(SONAME) $(BUILD)/libframed.so

help:
	@echo 'make           build/framed, build/libframed.a, build/$(SONAME)'
	@echo 'make demo      serves, calls and measures with nothing but a C compiler and make'
	@echo 'make test      all quick tests; installs what they need, or says what is missing'
	@echo 'make check     the slow ones: sanitizers, layers, format, lint, exhaustive, instruction counts, Wine'
	@echo 'make layers    proves that proto/ computes and only src/os acts'
	@echo 'make bench     speed and memory, as ratios against a bare echo in the same run'
	@echo 'make install   PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make format    clang-format over everything      make clean'

# Says what it does in a word; V=1 shows the commands.
ifneq ($(V),1)
SAY = @echo '  $(1)  $@';
endif

# ---- objects ----

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC )$(COMPILE) -c $< -o $@

$(BUILD)/pic/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC )$(COMPILE) -fPIC -c $< -o $@

# Rebuilds what was built otherwise when the compiler or the flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LDFLAGS)' | cmp -s - $@ || echo '$(COMPILE) $(LDFLAGS)' > $@
.PHONY: FORCE
FORCE:

-include $(shell find $(BUILD)/obj $(BUILD)/pic -name '*.d' 2>/dev/null)

$(BUILD)/obj/tests/%: CPPFLAGS += -Itests/support -Isrc/cli

# ---- products ----

$(BUILD)/libframed.a: $(LIB_OBJ)
	@rm -f $@
	$(call SAY,AR )$(AR) rcs $@ $^

$(BUILD)/$(SONAME): $(PIC_OBJ)
	$(call SAY,LD )$(LINK) -shared -Wl,-soname,$(SONAME) -o $@ $^

$(BUILD)/libframed.so: $(BUILD)/$(SONAME)
	ln -sf $(SONAME) $@

$(BUILD)/framed: $(CLI_OBJ) $(BUILD)/libframed.a
	$(call SAY,LD )$(LINK) -o $@ $^

# ---- tests ----

$(BUILD)/tests/test_sim%: $(BUILD)/obj/tests/sim/test_sim%.o $(call obj,$(SUPPORT) tests/support/sim.c $(PROTO) $(SRC))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ -lcmocka

$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.o $(call obj,$(SUPPORT)) $(LIB_OBJ) $(CLI_UNIT)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ -lcmocka

$(BUILD)/tests/words: $(BUILD)/obj/tests/unit/words.o $(call obj,$(PROTO))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^

tests: $(TESTS)

test-deps:
	@tests/deps.sh libcmocka-dev:cmocka.h python3

test: test-deps
	@$(MAKE) --no-print-directory all tests
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/run.sh

demo: $(BUILD)/framed $(BUILD)/bench/loadgen
	@BUILD=$(BUILD) tests/demo.sh

check:
	@BUILD=$(BUILD) tests/check.sh

layers: all
	@BUILD=$(BUILD) CC='$(CC)' AR='$(AR)' tests/layers.sh

# ---- bench ----

$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(call obj,bench/load.c) $(BUILD)/libframed.a
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^

bench: all $(BENCHES)
	@$(BUILD)/bench/bench all $(BUILD)

# ---- around ----

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# Relocatable: from the folder it lies in up to the prefix, and down again. Always made anew: PREFIX may have changed.
PC_UP = $(shell echo '$(patsubst $(PREFIX)/%,%,$(LIBDIR))/pkgconfig' | sed 's|[^/][^/]*|..|g')

$(BUILD)/framed.pc: packaging/framed.pc.in FORCE
	@mkdir -p $(@D)
	sed -e 's|@VERSION@|$(VERSION)|' -e 's|@UP@|$(PC_UP)|' -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,%,$(INCLUDEDIR))|' $< > $@

install: all $(BUILD)/framed.pc
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/framed
	install -m 755 $(BUILD)/framed $(DESTDIR)$(BINDIR)/framed
	install -m 644 $(BUILD)/libframed.a $(DESTDIR)$(LIBDIR)/libframed.a
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libframed.so
	install -m 644 include/framed/*.h $(DESTDIR)$(INCLUDEDIR)/framed/
	install -m 644 $(BUILD)/framed.pc $(DESTDIR)$(LIBDIR)/pkgconfig/framed.pc

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/framed $(DESTDIR)$(LIBDIR)/libframed.a $(DESTDIR)$(LIBDIR)/$(SONAME) $(DESTDIR)$(LIBDIR)/libframed.so
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/framed.pc
	rm -rf $(DESTDIR)$(INCLUDEDIR)/framed

clean:
	rm -rf $(BUILD)
