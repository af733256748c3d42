# GNU Makefile of framed. `make help` lists the targets.
# Honoured: CC AR CFLAGS CPPFLAGS LDFLAGS PREFIX LIBDIR INCLUDEDIR BINDIR MANDIR DESTDIR BUILD WERROR=1 SODIUM=0

CC      ?= cc
AR      ?= ar
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR  ?= $(PREFIX)/share/man
BUILD   ?= build
PYTHON  ?= python3

VERSION := $(shell sed -n 's/^\#define FRAMED_VERSION  *"\(.*\)"/\1/p' include/framed/framed.h)
SOMAJOR := 0
SONAME  := libframed.so.$(SOMAJOR)

# What differs on Windows; `make windows` sets TARGET.
ifeq ($(TARGET),windows)
SYSTEM := win
EXE    := .exe
SHARED := $(BUILD)/libframed.dll
override LDFLAGS += -static
ENTRY  := -municode
LIBS   := -lws2_32 -lbcrypt -lntdll -ladvapi32
CMOCKA := $(BUILD)/cmocka/cmocka.o
else
SYSTEM := posix
SHARED := $(BUILD)/$(SONAME) $(BUILD)/libframed.so
CMOCKA := -lcmocka
# What is called is found when a program begins: found at the first call, it would leave the registers, a key in them, on the stack.
BIND   := -fno-plt
endif
# Another machine than this one (tests/machine.sh): everything static, with a cmocka of its own.
ifeq ($(TARGET),machine)
SHARED :=
CMOCKA := $(BUILD)/cmocka/cmocka.o
$(BUILD)/obj/tests/%: private CPPFLAGS += -isystem $(BUILD)/cmocka/include -DCMOCKA_STATIC
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla
ifeq ($(TARGET),windows)
WARN += -Wno-format # it takes our functions like printf for Microsoft's, without %zu; the native build checks the same calls
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif
# What we need comes first, what the user asks for last, so that the user wins.
COMPILE = $(CC) -std=c11 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 $(WARN) -Iinclude -Iproto -Isrc -Isrc/os -fvisibility=hidden $(BIND) $(HAVE) -pthread $(CPPFLAGS) $(CFLAGS) -MMD -MP
# What an object depends on holds for it however BUILD is said, as a relative path or an absolute one.
DEPENDS = -MT '$$(BUILD)$(@:$(BUILD)%=%)'
LINK    = $(CC) -pthread $(CFLAGS) $(LDFLAGS)

# 1: there is a libsodium of 1.0.18 or newer for this compiler. Said by whoever calls make, or found by trying.
ifndef SODIUM
SODIUM := $(shell t=$$(mktemp) && echo 'int main(void) { char new_enough[SODIUM_LIBRARY_VERSION_MAJOR * 100 + \
    SODIUM_LIBRARY_VERSION_MINOR >= 1003 ? 1 : -1]; return sodium_init() < (int)sizeof new_enough - 1; }' | \
    $(CC) $(CPPFLAGS) $(filter -m%,$(CFLAGS)) $(filter -L%,$(LDFLAGS)) -include sodium.h -x c - -o $$t -lsodium 2>/dev/null && echo 1 || echo 0; rm -f $$t)
endif

HAVE := $(if $(filter 1,$(SODIUM)),-DFRAMED_SODIUM)
ifeq ($(TARGET) $(SODIUM),windows 1)
HAVE += -DSODIUM_STATIC -isystem $(BUILD)/libsodium/include
override LDFLAGS += -L$(BUILD)/libsodium
endif
# What encrypts: without libsodium it is left out, and what would call it says FRAMED_UNSUPPORTED.
SODIUM_ONLY := proto/noise.c proto/channel_noise.c src/tunnel.c
ifeq ($(SODIUM),1)
PROTO := $(wildcard proto/*.c)
LIBS  := $(strip -lsodium $(LIBS))
else
PROTO := $(filter-out $(SODIUM_ONLY),$(wildcard proto/*.c))
endif
SRC   := $(filter-out $(if $(filter 1,$(SODIUM)),,$(SODIUM_ONLY)),$(wildcard src/*.c))
OS    := $(wildcard src/os/os_$(SYSTEM)*.c)
CLI   := $(filter-out src/cli/host_%.c,$(wildcard src/cli/*.c)) $(wildcard src/cli/host_$(SYSTEM)*.c)
BENCH := $(filter-out bench/load.c bench/tally.c bench/generate.c,$(wildcard bench/*.c))
UNIT  := $(wildcard tests/unit/test_*.c)
SIM   := $(wildcard tests/sim/test_*.c)
SIMULATOR := $(wildcard tests/support/sim*.c)
WORLD := $(wildcard tests/world/test_*.c)
TRIAL := $(filter-out $(WORLD) tests/world/main.c,$(wildcard tests/world/*.c))
SUPPORT := $(filter-out $(SIMULATOR),$(wildcard tests/support/*.c))

comma := ,
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ := $(call obj,$(PROTO) $(SRC) $(OS))
PIC_OBJ := $(patsubst %.c,$(BUILD)/pic/%.o,$(PROTO) $(SRC) $(OS))
CLI_OBJ := $(call obj,$(CLI))
# What the unit tests see of the tool: everything but its main and what acts.
CLI_UNIT := $(call obj,$(filter src/cli/options.c src/cli/option_table.c src/cli/output.c src/cli/histogram.c src/cli/series.c src/cli/bench_%.c src/cli/input.c src/cli/inspect%.c src/cli/record.c src/cli/replay.c src/cli/keyfile.c,$(CLI)))
ifeq ($(TARGET),windows)
include tests/win/tests.mk
endif
TESTS   := $(patsubst %.c,$(BUILD)/tests/%$(EXE),$(notdir $(UNIT) $(SIM) $(WORLD)))
NOISE_TESTS := $(filter $(addprefix %/,$(addsuffix $(EXE),test_noise test_noise_answers test_channel_noise test_channel_noise_records test_channel_noise_answers)),$(TESTS))
TUNNEL_TESTS := $(filter $(BUILD)/tests/test_sim_tunnel% $(BUILD)/tests/test_net_secrets%,$(TESTS))
ifneq ($(SODIUM),1)
TESTS   := $(filter-out $(NOISE_TESTS) $(TUNNEL_TESTS),$(TESTS))
endif
# A sanitizer keeps copies of its own.
ifneq ($(findstring -fsanitize,$(CFLAGS)),)
TESTS   := $(filter-out $(BUILD)/tests/test_net_secrets,$(TESTS))
endif
SLOW    := $(BUILD)/tests/words
BENCHES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCH))

.PHONY: all test test-32 test-big-endian test-musl sim windows test-windows demo check check-long layers bench benches scale keys install uninstall clean format help test-deps tests fuzz recall conform conform-table cover lint
.DEFAULT_GOAL := all
.SECONDARY:

all: $(BUILD)/framed$(EXE) $(BUILD)/libframed.a $(SHARED)

help:
	@echo 'make           build/framed, build/libframed.a, build/$(SONAME)'
	@echo 'make demo      serves, calls and measures with nothing but a C compiler and make'
	@echo 'make test      all quick tests; installs what they need, or says what is missing'
	@echo 'make check     the slow ones: two compilers, sanitizers, format, lint, faults, fuzz, peers, Windows, counts'
	@echo 'make sim       SEEDS=1000 of clients, servers and faults in simulated time; SEED=123 shows the trace of one'
	@echo 'make check-long  more than an hour: what that does in part, whole; planted bugs; faults on real sockets, an hour of all of them at once'
	@echo 'make conform   what the protocol wants, row by row, of a server and a client; TARGET=HOST:PORT: of an echo server of yours'
	@echo 'make lint      programs that read the code: cppcheck, clang-tidy, gcc -fanalyzer, scan-build, shellcheck, pyflakes'
	@echo 'make cover     which branches of proto/ and src/ the tests take; fails below 100 and 90 percent'
	@echo 'make layers    proves that proto/ computes and only src/os acts'
	@echo 'make test-32, test-big-endian, test-musl   the tests on other machines: x86 with 32 bits, s390x under qemu, static musl'
	@echo 'make windows   build/windows/framed.exe and the rest, with MinGW-w64; make test-windows tests it under Wine'
	@echo 'make fuzz      SECONDS=60 of libFuzzer and AFL++ in all; make fuzz-cover: what the inputs kept in fuzz/corpus reach'
	@echo 'make recall    plants bugs of known classes, one at a time, and says which test finds each; BUGS="07 sigpipe" some of them'
	@echo 'make bench     speed and memory, as ratios against a bare echo in the same run'
	@echo 'make compare   framed, ZeroMQ, nng, Erlang, Twisted, tokio, Netty and libuv on the same work; writes docs/performance.md'
	@echo 'make keys      what checksums and encryption cost over TCP'
	@echo 'make scale     19,000 connections in a process, 95,000 in five, frames up to 1 GiB; writes docs/scale.md'
	@echo 'make install   PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make format    clang-format over everything      make clean'

# Says what it does in a word; V=1 shows the commands.
ifneq ($(V),1)
SAY = @echo '  $(1)  $@';
endif

# ---- objects ----

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC )$(COMPILE) $(DEPENDS) -c $< -o $@

$(BUILD)/pic/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC )$(COMPILE) $(DEPENDS) -fPIC -c $< -o $@

# Rebuilds what was built otherwise when the compiler or the flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LDFLAGS)' | cmp -s - $@ || echo '$(COMPILE) $(LDFLAGS)' > $@
.PHONY: FORCE
FORCE:

-include $(shell find $(BUILD)/obj $(BUILD)/pic -name '*.d' 2>/dev/null)

$(BUILD)/obj/tests/%: private CPPFLAGS += -Itests/support -Isrc/cli

# Counts which branches of ours are taken (tests/cover/cover.sh); what tests them may be fast.
ifeq ($(COVER),1)
$(BUILD)/obj/proto/% $(BUILD)/obj/src/% $(BUILD)/pic/%: private CPPFLAGS += -O0 --coverage -fprofile-update=atomic
$(BUILD)/obj/tests/% $(BUILD)/obj/fuzz/%: private CPPFLAGS += -O2
endif

# ---- products ----

$(BUILD)/libframed.a: $(LIB_OBJ)
	@rm -f $@
	$(call SAY,AR )$(AR) rcs $@ $^

$(BUILD)/$(SONAME): $(PIC_OBJ)
	$(call SAY,LD )$(LINK) -shared -Wl,-soname,$(SONAME) -o $@ $^ $(LIBS)

$(BUILD)/libframed.so: $(BUILD)/$(SONAME)
	ln -sf $(SONAME) $@

$(BUILD)/libframed.dll: $(LIB_OBJ) $(BUILD)/framed.def
	$(call SAY,LD )$(LINK) -shared -Wl,--out-implib,$@.a -o $@ $^ $(LIBS)

# What the public headers declare, and nothing else, as `visibility` does elsewhere.
$(BUILD)/framed.def: $(wildcard include/framed/*.h)
	@(echo EXPORTS; sed -n 's/^FRAMED_API.*[ *]\(framed_[a-z0-9_]*\)(.*/\1/p' $^) > $@

$(BUILD)/framed$(EXE): $(CLI_OBJ) $(BUILD)/libframed.a
	$(call SAY,LD )$(LINK) $(ENTRY) -o $@ $^ $(LIBS)

# ---- tests ----

$(BUILD)/tests/test_sim%$(EXE): $(BUILD)/obj/tests/sim/test_sim%.o $(call obj,$(SUPPORT) $(SIMULATOR) $(PROTO) $(SRC))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(CMOCKA) $(LIBS)

$(BUILD)/tests/test_world%$(EXE): $(BUILD)/obj/tests/world/test_world%.o $(call obj,$(TRIAL) $(SUPPORT) $(SIMULATOR) $(PROTO) $(SRC))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(CMOCKA) $(LIBS)

$(BUILD)/tests/sim$(EXE): $(call obj,tests/world/main.c $(TRIAL) $(SUPPORT) $(SIMULATOR) $(PROTO) $(SRC))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(CMOCKA) $(LIBS)

$(BUILD)/tests/test_%$(EXE): $(BUILD)/obj/tests/unit/test_%.o $(call obj,$(SUPPORT)) $(LIB_OBJ) $(CLI_UNIT)
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) $(WRAP) -o $@ $^ $(CMOCKA) $(LIBS)

# They play peers that do what ours does not, and see what is wiped.
MEDDLED := crypto_scalarmult crypto_scalarmult_base crypto_auth_hmacsha256_init sodium_memcmp sodium_memzero sodium_init
$(NOISE_TESTS): $(BUILD)/tests/%$(EXE): $(BUILD)/obj/tests/unit/%.o $(call obj,tests/noise/meddle.c tests/noise/cases.c tests/support/guard.c tests/support/splits.c $(PROTO))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) $(addprefix -Wl$(comma)--wrap=,$(MEDDLED)) -o $@ $^ $(CMOCKA) $(LIBS)
$(NOISE_TESTS:$(BUILD)/tests/%$(EXE)=$(BUILD)/obj/tests/unit/%.o): private CPPFLAGS += -Itests/noise

$(BUILD)/tests/test_host_posix_keys: $(call obj,src/cli/host.c $(wildcard src/cli/host_posix*.c))

# Sees what is wiped, and makes libsodium fail.
ifeq ($(SODIUM),1)
$(BUILD)/tests/test_keys$(EXE): private WRAP := $(addprefix -Wl$(comma)--wrap=,sodium_memzero sodium_init crypto_scalarmult_base)
endif

# Sees what was drawn.
$(BUILD)/tests/test_net_secrets: private WRAP := -Wl,--wrap=framed_os_random

# Counts what is copied.
$(BUILD)/tests/test_net_copies: private WRAP := -Wl,--wrap=memcpy,--wrap=memmove

$(BUILD)/tests/words: $(BUILD)/obj/tests/unit/words.o $(call obj,$(PROTO))
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(LIBS)

tests: $(TESTS)

test-deps:
	@tests/deps.sh libcmocka-dev:cmocka.h python3 mandoc=mandoc
ifeq ($(SODIUM) $(origin SODIUM),0 file)
	@tests/deps.sh libsodium-dev:sodium.h 2>/dev/null || \
	    echo 'libsodium-dev is missing, and not to be installed from here: what encrypts is left out'
endif

test: test-deps
	@$(MAKE) --no-print-directory all tests
	@RUN_LANES=2 BUILD=$(BUILD) PYTHON=$(PYTHON) tests/run.sh

# Trials in simulated time: tests/world. One SEED, with its trace; or SEEDS=N of them from FIRST on.
sim: $(BUILD)/tests/sim$(EXE)
	@$(BUILD)/tests/sim$(EXE) $(if $(SEED),$(SEED),$(or $(FIRST),1) $(or $(SEEDS),1000))

# ---- other machines: 32-bit x86 with sanitizers, s390x (big-endian) under qemu, musl ----

test-32 test-big-endian test-musl:
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/machine.sh $@

# ---- Windows: cross-built with MinGW-w64, tested under Wine ----

MINGW   := x86_64-w64-mingw32-
# With libsodium, whether this machine has one or not, unless SODIUM=0 is said.
WINDOWS := TARGET=windows BUILD=$(BUILD)/windows CC=$(MINGW)gcc AR=$(MINGW)ar SODIUM=$(if $(filter file,$(origin SODIUM)),1,$(SODIUM))

windows:
	@tests/deps.sh gcc-mingw-w64-x86-64-win32=$(MINGW)gcc
	@$(if $(filter SODIUM=1,$(WINDOWS)),AR=$(MINGW)ar tests/source.sh libsodium $(BUILD)/windows/libsodium $(MINGW)gcc)
	@tests/source.sh cmocka $(BUILD)/windows/cmocka $(MINGW)gcc -D__USE_MINGW_SETJMP_NON_SEH
	@$(MAKE) --no-print-directory $(WINDOWS) all tests

test-windows: all windows
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/win/run.sh

demo: $(BUILD)/framed $(BUILD)/bench/loadgen
	@BUILD=$(BUILD) tests/demo.sh

check:
	@BUILD=$(BUILD) tests/check.sh

check-long:
	@BUILD=$(BUILD) tests/check-long.sh

# TARGET=HOST:PORT [MAX_FRAME=N] or CLIENT=COMMAND: somebody else's (docs/conformance.md). conform-table writes that page's table.
conform conform-table: $(if $(TARGET)$(CLIENT),,all)
	@BUILD=$(BUILD) PYTHON=$(PYTHON) TARGET='$(TARGET)' MAX_FRAME='$(MAX_FRAME)' CLIENT='$(CLIENT)' \
	    WRITE=$(filter conform-table,$@) tests/conform/run.sh

layers: all
	@BUILD=$(BUILD) CC='$(CC)' AR='$(AR)' SODIUM=$(SODIUM) tests/layers.sh

# Of a copy of what git tracks: nothing here is changed.
recall: test-deps
	@tests/deps.sh valgrind=valgrind
	@BUILD=$(BUILD) $(PYTHON) tests/recall/recall.py $(BUGS)

lint:
	@BUILD=$(BUILD) tests/lint.sh

cover:
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/cover/cover.sh

include fuzz/fuzz.mk
include tests/faults/faults.mk

# ---- bench ----

$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(call obj,bench/load.c bench/tally.c bench/generate.c) $(BUILD)/libframed.a
	@mkdir -p $(@D)
	$(call SAY,LD )$(LINK) -o $@ $^ $(LIBS)

benches: all $(BENCHES)

bench: benches
	@$(BUILD)/bench/bench all $(BUILD)

include bench/compare/compare.mk

# QUICK=1, ROUNDS=N, WRITE=FILE as for compare.
scale: benches
	@BUILD=$(BUILD) $(PYTHON) -B bench/scale.py $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(WRITE),--write $(WRITE))

# What checksums and encryption cost over TCP. ROUNDS=N
keys: benches
	@BUILD=$(BUILD) $(PYTHON) -B bench/keys.py $(if $(ROUNDS),--rounds $(ROUNDS))

# ---- around ----

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# Relocatable: from the folder it lies in up to the prefix, and down again. Always made anew: PREFIX may have changed.
PC_UP = $(shell echo '$(patsubst $(PREFIX)/%,%,$(LIBDIR))/pkgconfig' | sed 's|[^/][^/]*|..|g')

$(BUILD)/framed.pc: packaging/framed.pc.in FORCE
	@mkdir -p $(@D)
	sed -e 's|@VERSION@|$(VERSION)|' -e 's|@UP@|$(PC_UP)|' -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,%,$(INCLUDEDIR))|' -e 's|@LIBS@|-pthread $(LIBS)|' $< > $@

# SHELL:WHERE, below share. The built tool prints them: not where it was built for another machine.
COMPLETIONS := bash:bash-completion/completions/framed zsh:zsh/site-functions/_framed fish:fish/vendor_completions.d/framed.fish

install: all $(BUILD)/framed.pc
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/framed
	install -m 755 $(BUILD)/framed $(DESTDIR)$(BINDIR)/framed
	install -m 644 $(BUILD)/libframed.a $(DESTDIR)$(LIBDIR)/libframed.a
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libframed.so
	install -m 644 include/framed/*.h $(DESTDIR)$(INCLUDEDIR)/framed/
	install -m 644 $(BUILD)/framed.pc $(DESTDIR)$(LIBDIR)/pkgconfig/framed.pc
	for n in 1 3 7; do install -d $(DESTDIR)$(MANDIR)/man$$n && install -m 644 docs/framed.$$n $(DESTDIR)$(MANDIR)/man$$n/ || exit 1; done
	@if ! $(BUILD)/framed version > /dev/null 2>&1; then echo 'no completions: $(BUILD)/framed does not run here'; exit 0; fi; \
	for c in $(COMPLETIONS); do \
	    install -d "$(DESTDIR)$(PREFIX)/share/$$(dirname $${c#*:})" && \
	    $(BUILD)/framed completion $${c%%:*} > "$(DESTDIR)$(PREFIX)/share/$${c#*:}" && \
	    chmod 644 "$(DESTDIR)$(PREFIX)/share/$${c#*:}" || exit 1; \
	done

uninstall:
	rm -f $(foreach n,1 3 7,$(DESTDIR)$(MANDIR)/man$(n)/framed.$(n))
	rm -f $(foreach c,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/share/$(lastword $(subst :, ,$(c))))
	rm -f $(DESTDIR)$(BINDIR)/framed $(DESTDIR)$(LIBDIR)/libframed.a $(DESTDIR)$(LIBDIR)/$(SONAME) $(DESTDIR)$(LIBDIR)/libframed.so
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/framed.pc
	rm -rf $(DESTDIR)$(INCLUDEDIR)/framed

clean:
	rm -rf $(BUILD)
