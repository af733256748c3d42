/*
 * seeds.c: inputs made of the cases in proto/vectors: each stream under a few setups and programs; and a few files of keys.
 * Must not know what the cases say.
 * Invariant: the same files give the same seeds.
 */
#include "cli/options.h"
#include "fuzz.h"
#include "vectors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEED = 16 << 10 };

typedef void seed_fn(void *ctx, const char *name, const uint8_t *at, size_t n);

/* One way to go about a stream: setup, then program. */
struct way {
    const char *setup; /* hex; '....' stands for the vector's max_frame */
    const char *program;
};

static const struct way reader_ways[] = {
    {"....00", ""},         /* at once */
    {"....00", "0100"},     /* byte by byte */
    {"....01", "03010a09"}, /* received in place, and taken */
    {"....02", "05660260"}, /* parked and left idle, wrong calls between */
    {"....01", "ff020716"}, /* parked, and changed */
    {"....01", "16820141"}, /* parked in a block that cannot be shrunk, the rest in place */
};

static const struct way server_ways[] = {
    {"0100030000000000", "00ff0100"},         /* at once; no deadlines */
    {"0105060203010200", "0001010000020200"}, /* in small pieces, with dice, small buffers, few calls */
    {"1007040100020300", "00030106060000ff"}, /* stalls with the deadlines on */
    {"0500060000000009", "00ff010000ff"},     /* an allocation fails */
};

/* Whole inputs: setup, program with its length, pairs that make large frames. */
static const char *const server_inputs[] = {
    "8100000000000000 0200ff d4ffe1ffb2a0a1f0",               /* deferred, echoed, doubled */
    "8500000000000000 0600ff02010301 d4ffd5ffd6ffa1ffe3f0",   /* deferred, answered, failed */
    "c000000000000000 0600ff01030200 d4c0d5ffa1c0",           /* the deadline of a call passes */
    "c003000300010000 0a0080050101040501050101 a1ffa1ffa1ff", /* the peer stops reading */
    "8900010000000000 0400ff0201 d4ffd5ffd5ffd5f0a1ff",       /* answered when the server is gone */
    "8400000000000005 0400ff0100 d5ffd5ffa3ff",
};

static const char *const client_inputs[] = {
    "8100000000000000 0c03ff028302830e0102010e00 41ffa0c0b0f0c0c0", /* received, and sent back */
    "8000000000000000 0e090303ff09070e8109000203090300 41ffa0c0b0f0",
    "8400000000000000 080907000203ff0205 41ff42ff",
    "8000010000000000 0e00ff00ff03ff0205020502050eff0205 41ff42ff43ff44ff",
    "8001000101020500 0e00c000c003ff0205020502050e010205 41ff42ff43ff44ff",
    "a000000000000000 0c00c003200b040205000a0205ff 41ff42c0",
};

static const struct way client_ways[] = {
    {"0000050000000000", "00050006000703060fff0203020402050206"},
    {"0003060102000000", "000101020303040509110b0303ff0202"},
    {"0100060000000000", "000503ff02020202060002020a02"},
};

static const struct way inspect_ways[] = {
    {"0104....0000", "ff"}, {"0001....0000", "03"},   {"0302....0000", "0105"},
    {"0400....0000", "07"}, {"0500....0000", "1100"},
};

/* A record, behind its first frame: opened, data each way, end, lost, closed. */
static const char a_record[] = "0000001001000000000100000000000000017778"
                               "000000170200000000010000000000000002000000056162636465"
                               "000000130201000000010000000000000003000000"
                               "0166"
                               "0000000e03000000000100000000000000040000001605010000000100000000000000050000000000000007"
                               "0000000e0400000000010000000000000006";

static size_t from_hex(const char *hex, uint32_t max_frame, uint8_t *to)
{
    size_t n = 0;
    for (size_t i = 0; hex[i] != '\0' && hex[i + 1] != '\0';) {
        if (hex[i] == ' ') {
            i++;
            continue;
        }
        if (hex[i] == '.') {
            for (int shift = 24; shift >= 0; shift -= 8) to[n++] = (uint8_t)(max_frame >> shift);
            i += 4;
            continue;
        }
        char digits[3] = {hex[i], hex[i + 1], '\0'};
        to[n++] = (uint8_t)strtoul(digits, NULL, 16);
        i += 2;
    }
    return n;
}

/* `before`: hex, goes before each stream. */
static void streams(const struct way *ways, size_t way_count, const char *before, seed_fn *seed, void *ctx)
{
    static uint8_t input[MOST_SEED + 512];
    struct vectors vectors;
    vectors_load(&vectors, FRAMED_VECTORS "/frames.txt");
    for (size_t i = 0; i < vectors.n; i++) {
        const struct vector *v = &vectors.at[i];
        for (size_t k = 0; k < way_count && v->input_len <= MOST_SEED; k++) {
            char name[128];
            size_t n = from_hex(ways[k].setup, v->max_frame, input);
            size_t program = from_hex(ways[k].program, 0, input + n + 1);
            input[n] = (uint8_t)program;
            n += 1 + program;
            n += from_hex(before, 0, input + n);
            memcpy(input + n, v->input, v->input_len);
            snprintf(name, sizeof name, "%s-%zu", v->name, k);
            seed(ctx, name, input, n + v->input_len);
        }
    }
    vectors_free(&vectors);
}

static void inputs(const char *const *list, size_t count, seed_fn *seed, void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t input[200];
        char name[32];
        snprintf(name, sizeof name, "input-%zu", i);
        seed(ctx, name, input, from_hex(list[i], 0, input));
    }
}

static void words(seed_fn *seed, void *ctx)
{
    struct word_cases cases;
    word_cases_load(&cases, FRAMED_VECTORS "/words.txt");
    for (size_t i = 0; i < cases.n; i++) {
        uint8_t input[16];
        char name[32];
        size_t n = from_hex("....0000", cases.at[i].max_frame, input);
        memcpy(input + n, cases.at[i].word, 4);
        snprintf(name, sizeof name, "word-%zu", i);
        seed(ctx, name, input, n + 4);
    }
    word_cases_free(&cases);
}

/* Each case in pieces as the program says, for who accepts what the case does; then HELLOs that are written. */
static void openings(seed_fn *seed, void *ctx)
{
    static const uint8_t modes[] = FUZZ_MODES;
    static const char *const written[] = {
        "04 0002 00 00010000 00000000 00004000 00010000", "05 0008 0101 00000000 0000000a 00000000 7fffffff",
        "04 0020 0102 00000000 00000000 00004000 00000000 616c696365", "04 0001 00 00003fff 00000000 00000000 00000000"};
    struct opening_cases cases;
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    for (size_t i = 0; i < cases.n; i++) {
        const struct opening_case *c = &cases.at[i];
        uint8_t input[512] = {(uint8_t)((c->to_acceptor ? 0 : 1) + (c->plain ? 2 : 0))};
        unsigned chosen = 0;
        for (size_t k = 0; k < sizeof modes; k++)
            if (memchr(c->modes, modes[k], c->mode_count) != NULL) chosen |= 1u << k;
        input[1] = (uint8_t)(chosen >> 8);
        input[2] = (uint8_t)chosen;
        input[3] = 2;
        input[4] = 3;
        input[5] = 6;
        fuzz_must(c->input_len <= sizeof input - 6, "a case is no longer than a seed");
        memcpy(input + 6, c->input, c->input_len);
        seed(ctx, c->name, input, 6 + c->input_len);
    }
    opening_cases_free(&cases);
    inputs(written, sizeof written / sizeof *written, seed, ctx);
}

/* Each opening as a whole stream, for a server, in pieces. */
static void opened_streams(seed_fn *seed, void *ctx)
{
    struct opening_cases cases;
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    for (size_t i = 0; i < cases.n; i++) {
        const struct opening_case *c = &cases.at[i];
        uint8_t input[512];
        size_t n = from_hex("0100030000000000 04 00030102", 0, input);
        if (!c->to_acceptor || c->input_len > sizeof input - n) continue;
        memcpy(input + n, c->input, c->input_len);
        seed(ctx, c->name, input, n + c->input_len);
    }
    opening_cases_free(&cases);
    for (uint8_t fails_at = 0; fails_at < 40; fails_at++) { /* one allocation of a sealed stream fails */
        uint8_t input[64];
        char name[32];
        size_t n = from_hex("0500060000000000 0200ff 80 00000001 65", 0, input);
        input[7] = fails_at;
        snprintf(name, sizeof name, "fails-at-%u", fails_at);
        seed(ctx, name, input, n);
    }
}

/* Every operation of the writer behind every other. */
static void operations(seed_fn *seed, void *ctx)
{
    for (unsigned i = 0; i < 81; i++) {
        const uint8_t input[] = {(uint8_t)(i / 9), 40,  0, 0, (uint8_t)(i % 9), 214, 0, 1,
                                 (uint8_t)(i / 9), 250, 1, 6, (uint8_t)(i % 9), 3,   0, 2};
        char name[32];
        snprintf(name, sizeof name, "operations-%u", i);
        seed(ctx, name, input, sizeof input);
        seed(ctx, name, input, sizeof input - 2); /* sealed */
        seed(ctx, name, input, sizeof input - 3); /* with trailers */
    }
    for (uint8_t much = 0; much < 3; much++) { /* a taken payload, its trailer or its length word has no memory */
        const uint8_t input[] = {193, 214, 0, much, 0};
        seed(ctx, "without-memory", input, sizeof input);
    }
    seed(ctx, "raw", (const uint8_t[]){198, 40, 0, 254, 0, 40}, 6); /* without memory, too */
}

static void record(seed_fn *seed, void *ctx)
{
    for (unsigned setup = 32; setup < 40; setup++) {
        uint8_t input[300] = {(uint8_t)setup};
        size_t n = 8;
        input[n++] = 1;
        input[n++] = setup % 2 ? 1 : 255;
        n += from_hex(a_record, 0, input + n);
        char name[32];
        snprintf(name, sizeof name, "record-%u", setup);
        seed(ctx, name, input, n);
    }
}

/* The examples of the option table, as arguments. */
static void command_lines(seed_fn *seed, void *ctx)
{
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        const char *line = framed_command_table[i].examples;
        for (unsigned k = 0; *line != '\0'; k++) {
            char input[160], name[64];
            size_t n = 1, len = strcspn(line, "\n");
            const char *comment = strstr(line, "  ");
            if (comment == NULL || comment > line + len) comment = line + len;
            const char *from = strstr(line, "framed ") + 7; /* behind "framed serve" */
            from += strcspn(from, " \n");
            input[0] = (char)i;
            for (const char *c = from < comment ? from + 1 : comment; c < comment && n < sizeof input; c++)
                input[n++] = *c == ' ' ? '\0' : *c;
            snprintf(name, sizeof name, "%s-%u", framed_command_table[i].name, k);
            seed(ctx, name, (const uint8_t *)input, n);
            line += len + (line[len] == '\n');
        }
    }
}

/* Each option of each command at both ends of its range, and one step too far. */
static void ranges(seed_fn *seed, void *ctx)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *o = &framed_option_table[i];
        bool is_number = o->kind == CLI_SIZE || o->kind == CLI_COUNT || o->kind == CLI_DURATION || o->kind == CLI_BRIEF;
        const uint64_t numbers[] = {o->least, o->least - 1, o->most, o->most + 1};
        for (size_t k = 0; is_number && k < 4; k++) {
            char input[100], name[64];
            size_t command = 0;
            while ((o->commands & 1u << command) == 0) command++;
            input[0] = (char)command;
            int n = snprintf(input + 1, sizeof input - 1, "--%s=%llu%s", o->name, (unsigned long long)numbers[k],
                             o->kind == CLI_DURATION ? "ms"
                             : o->kind == CLI_BRIEF  ? "us"
                                                     : "");
            snprintf(name, sizeof name, "%s-%zu", o->name, k);
            seed(ctx, name, (const uint8_t *)input, 1 + (size_t)n);
        }
    }
}

#define THIRTY "000000000000000000000000000000000000000000000000000000000000"
#define NINETY THIRTY THIRTY THIRTY

/* Every message of every mode, as it was said, with a bit of it flipped, in other words, with other payloads, behind another opening. */
static void handshakes(seed_fn *seed, void *ctx)
{
    static const char *const ways[] = {
        "0%u 00",             /* as it was said, at once */
        "0%u 020307",         /* in pieces */
        "0%u 0101 0401",      /* the first byte behind the length word */
        "0%u 00 0301",        /* the length */
        "0%u 00 ff80",        /* somewhere */
        "1%u 0103 00000000",  /* lengths that lie */
        "1%u 00 00000010 00", /* and what follows */
        "1%u 00 ffffffff",    /* ... */
        "1%u 00 00000020 0900000000000000000000000000000000000000000000000000000000000000", /* a point, out of nothing */
        "2%u 0105",                                                                         /* no parameters */
        "2%u 00 0104 00010000",                                                             /* good ones */
        "2%u 00 0104 00000001",                                                             /* one out of its range */
        "2%u 00 c805 0102030405",                                                           /* unknown ones */
        "2%u 00 c85e" NINETY "00000000",                                                    /* as many as there can be */
        "2%u 00 c85f" NINETY "0000000000",                                                  /* and one more byte */
        "2%u 00 0204 00000001 0101",                                                        /* nonsense */
        "3%u 00 0d01",                                                                      /* another HELLO */
        "3%u 00 0d010d01",                                                                  /* the same, after all */
        "3%u 00 0301",                                                                      /* another mode */
        "3%u 00 0701",                                                                      /* another length */
    };
    for (unsigned mode = 0; mode < 6; mode++)
        for (unsigned i = 0; i < 3; i++)
            for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
                uint8_t input[128] = {(uint8_t)mode};
                char hex[256], name[48];
                snprintf(hex, sizeof hex, ways[k], i);
                snprintf(name, sizeof name, "handshake-%u-%u-%zu", mode, i, k);
                seed(ctx, name, input, 1 + from_hex(hex, 0, input + 1));
            }
}

/* Each operation behind a few others, from every beginning. */
static void sealed(seed_fn *seed, void *ctx)
{
    static const char *const programs[] = {
        "00000500 00020000 00000100 0000ff00 0000fe00 00010100 00000100 00020000", /* sealed, to the end and behind it */
        "00000000 00010000 00010200 00030100 00ff0000",                            /* and what may not be */
        "01000500 01020000 0100ff00 01000100 01010100 01000100",                   /* opened likewise */
        "01000000",
        "01010000",
        "01010200",
        "01030100",
        "01ff0000",
        "01000500 02000500 01000500",
        "01000500 02000548",
        "03000505",
        "03000511",
        "04000501",
        "01000500 05000000",
        "05000000",
        "06000000 00112233445566778899aabbccddeeff0011223344",
        "0600000000",
        "0200ff00",
        "0100fe00",
        "01000500 01000500 01000500 01000500 01000500", /* over a new key, or the end */
        "00000500 00000500 00000500 00000500 00000500",
    };
    for (unsigned first = 0; first < 4; first++) {
        for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
            uint8_t input[128] = {(uint8_t)first};
            char name[32];
            snprintf(name, sizeof name, "records-%u-%zu", first, k);
            seed(ctx, name, input, 1 + from_hex(programs[k], 0, input + 1));
        }
    }
    for (uint8_t what = 0; what < 2; what++) { /* sixteen PADs, something else, and again */
        uint8_t input[1 + 4 * 34] = {0};
        for (size_t i = 0; i < 34; i++) {
            input[1 + 4 * i] = what;
            input[2 + 4 * i] = i == 16 ? 0 : 2;
            input[3 + 4 * i] = 1;
        }
        seed(ctx, what == 0 ? "pads-sealed" : "pads-opened", input, sizeof input);
    }
}

/* Files of keys as fuzz_key_files.c reads them: bytes from 0x80 stand for keys. */
static void key_files(seed_fn *seed, void *ctx)
{
    static const struct {
        uint8_t kind;
        const char *text;
    } files[] = {
        {0, "# who may call\n\x80 alice\n\n\t\x81\t bob max-frame=64KiB  expires=2027-06-15 \n\x82 \xa0 expires=2096-02-29"},
        {0, "\x80 a\n\x81 a\n"},
        {0, "\x80 a\n\x80 b\n"},
        {0, "\x80 a max-frame=16KiB max-frame=1MiB\n"},
        {0, "\x80 a expires=9999-12-31 expires=1970-01-01\n"},
        {0, "\x8f a\r\n"},
        {0, "\x80 a role=admin\n"},
        {0, "\x80\n"},
        {0, "\x80 \x81\n"},
        {0, "framed-pub-1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE a\n"},
        {1, "db.example.org:7000 \x80\n[2001:db8::1]:65535 \x81 \x82\n127.0.0.1:1 \x80\n"},
        {1, "db:7000 \x80 \x80\n"},
        {1, "db:7000 \x80\ndb:7000 \x81\n"},
        {1, "db:65536 \x80\n"},
        {1, "\x80 db:7000\n"},
        {2, "db \x80\n\n# and\n two \x81\n\xa0 \x82"},
        {2, "a \x80\nb \x80\n"},
        {2, "a \x87\n"},
        {3, "# mine\n\x80\n"},
        {3, "\x80\n\x81\n"},
        {3, "\x80 x"},
        {130, "a \x80\n"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        uint8_t input[160] = {files[i].kind};
        char name[32];
        size_t n = strlen(files[i].text);
        memcpy(input + 1, files[i].text, n);
        snprintf(name, sizeof name, "key-file-%zu", i);
        seed(ctx, name, input, n + 1);
    }
}

/* What the inspection is shown with an opening: every case of one, and streams with checksums and encrypted ones. */
static void inspected_openings(seed_fn *seed, void *ctx)
{
    static const char *const looks[] = {"0003", "0103", "0302", "0403", "0501"}; /* setup, how much is dumped */
    static const char *const streams[] = {
        "f7460110 00000004 3b44c192 00000009 68656c6c6f 524608fe 00000004 0be3eda3", /* PROTOCOL.md §8.3 */
        "f7660110 00000004 27daa889 00000009 68656c6c6f 5d2f0ad5 00000003 616263",
        "f7460110 00000004 3b44c192 00000009 68656c6c6f 524608ff 00",
        "f7460110 00000004 3b44c192 00000009 68656c6c6f 52",
        "f7460180 00000004 0402 6d65 00000002 6d31 00000003 414243 00000000 0000",
        "f7460190 00000000 00000002 6d31 00000002 6d33 00000003 414243 00010000",
        "f76601a0 00000002 6d32 00000003 414243 0000ffff 00",
    };
    struct opening_cases cases;
    for (size_t k = 0; k < sizeof looks / sizeof *looks; k++) {
        for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
            uint8_t input[128];
            char name[48], hex[300];
            snprintf(hex, sizeof hex, "%s 00000000 0000 01 %s %s", looks[k], k % 2 ? "01" : "07", streams[i]);
            size_t n = from_hex(hex, 0, input);
            snprintf(name, sizeof name, "opened-%zu-%zu", k, i);
            seed(ctx, name, input, n);
        }
    }
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    for (size_t i = 0; i < cases.n; i++) {
        uint8_t input[512];
        size_t n = from_hex("01 03 00000000 0000 01 01", 0, input);
        fuzz_must(cases.at[i].input_len <= sizeof input - n, "a case is no longer than a seed");
        memcpy(input + n, cases.at[i].input, cases.at[i].input_len);
        seed(ctx, cases.at[i].name, input, n + cases.at[i].input_len);
    }
    opening_cases_free(&cases);
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

void fuzz_seeds(const char *harness, seed_fn *seed, void *ctx)
{
    if (strcmp(harness, "reader") == 0) {
        streams(reader_ways, COUNT(reader_ways), "", seed, ctx);
        words(seed, ctx);
    }
    if (strcmp(harness, "writer") == 0) operations(seed, ctx);
    if (strcmp(harness, "server") == 0) {
        streams(server_ways, COUNT(server_ways), "", seed, ctx);
        streams(server_ways, COUNT(server_ways), "80", seed, ctx); /* sealed */
        inputs(server_inputs, COUNT(server_inputs), seed, ctx);
        opened_streams(seed, ctx);
    }
    if (strcmp(harness, "client") == 0) {
        streams(client_ways, COUNT(client_ways), "", seed, ctx);
        inputs(client_inputs, COUNT(client_inputs), seed, ctx);
    }
    if (strcmp(harness, "options") == 0) {
        command_lines(seed, ctx);
        ranges(seed, ctx);
    }
    if (strcmp(harness, "inspect") == 0) {
        streams(inspect_ways, COUNT(inspect_ways), "", seed, ctx);
        record(seed, ctx);
        inspected_openings(seed, ctx);
    }
    if (strcmp(harness, "opening") == 0) openings(seed, ctx);
    if (strcmp(harness, "handshake") == 0) handshakes(seed, ctx);
    if (strcmp(harness, "records") == 0) sealed(seed, ctx);
    if (strcmp(harness, "key_files") == 0) key_files(seed, ctx);
}
