/* The most that this processor does: multiply-adds by precision, and bytes read from memory.
 *
 *   probe KIND THREADS SECONDS [MEGABYTES]      KIND: fp32, bf16, int8 or read
 *   probe describe
 *
 * The first form does many short runs and prints one line for each: seconds, the amount (multiply-
 * adds or bytes), and a checksum that equals the amount where every operation was carried out. All
 * factors are 1, so that an accumulator counts the multiply-adds that went into it; they come from
 * the command line's length, so that no compiler knows. Written for GCC and Clang.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define BITS 512
#elif defined(__AVX__)
#define BITS 256
#else
#define BITS 128
#endif
#define VECTOR(type) type __attribute__((vector_size(BITS / 8)))

/* Independent sums: enough to hide the latency of two units (4 cycles x 2), few enough for the
 * registers (16 of them where vectors are short of 512 bits on x86). */
#if defined(__AVX512F__) || defined(__aarch64__)
#define SUMS 16
#else
#define SUMS 12
#endif
/* Instructions into one sum in a run: half a millisecond, a moment in which nothing need disturb it
 * even on a busy machine, and few enough for float32 to count twice as many exactly (up to 2^24). */
#define STEPS 250000

typedef VECTOR(float) Floats;
typedef VECTOR(int32_t) Ints;
typedef VECTOR(uint64_t) Words;

/* The work of a run is a function that nothing is known of: it can't be moved past the clock, merged
 * with that of another run, or left out. */
#define RUN static __attribute__((noinline)) uint64_t
#define UNKNOWN(value) __asm__ volatile("" : "+r"(value) : : "memory")

/* Every lane of every sum starts elsewhere, so that none can stand for another. */
#define LANES(sums, type) (sizeof(sums[0]) / sizeof(type))
#define FILL(sums, type)                                                                           \
    for (size_t n = 0; n < SUMS * LANES(sums, type); n++)                                          \
        sums[n / LANES(sums, type)][n % LANES(sums, type)] = (type)(n * (size_t)one)
/* What was added to all lanes together. */
#define TOTAL(sums, type, total)                                                                   \
    for (size_t n = 0; n < SUMS * LANES(sums, type); n++)                                          \
        total += (uint64_t)sums[n / LANES(sums, type)][n % LANES(sums, type)] - n

/* sum = sum * one + one: a fused multiply-add where the processor has it, else two operations. */
RUN fp32_run(int one) {
    UNKNOWN(one);
    Floats sums[SUMS], ones = (Floats){0} + (float)one;
    FILL(sums, float);
    for (int step = 0; step < STEPS; step++)
        for (int s = 0; s < SUMS; s++) sums[s] = sums[s] * ones + ones;
    uint64_t total = 0;
    TOTAL(sums, float, total);
    UNKNOWN(total);
    return total;
}

#if defined(__AVX512BF16__)
#define BF16 "vdpbf16ps"
#define BF16_SUM Floats
#define BF16_ONE(one) (__m512bh)_mm512_set1_epi32((one) * 0x3f803f80)
#define BF16_STEP(sum, ones) (Floats)_mm512_dpbf16_ps((__m512)(sum), ones, ones)
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define BF16 "bfdot"
#define BF16_SUM float32x4_t
#define BF16_ONE(one) vreinterpretq_bf16_u32(vdupq_n_u32((one) * 0x3f803f80u))
#define BF16_STEP(sum, ones) vbfdotq_f32(sum, ones, ones)
#endif

/* Four products of bytes into each 32 bits. By one instruction where there is one (VNNI, or dot
 * products on ARM). Without, by three: products of unsigned and signed bytes, added in pairs to 16
 * bits; those in pairs to 32 bits; and the sum. ONNX Runtime and oneDNN multiply like that there. A
 * pair of products of full bytes does not fit 16 bits and is cut off, so kernels that are exact for
 * all bytes widen them to 16 bits first and are slower: this is the most that an int8 kernel does.
 * PAIRS is 16-bit ones, by which the pairs are added. */
#if defined(__AVX512VNNI__)
#define INT8 "vpdpbusd"
#define INT8_SUM Ints
#define INT8_BYTES __m512i
#define INT8_ONE(one) _mm512_set1_epi8(one)
#define INT8_STEP(sum, ones, pairs) (Ints)_mm512_dpbusd_epi32((__m512i)(sum), ones, ones)
#elif defined(__AVXVNNI__) && BITS == 256
#define INT8 "vpdpbusd"
#define INT8_SUM Ints
#define INT8_BYTES __m256i
#define INT8_ONE(one) _mm256_set1_epi8(one)
#define INT8_STEP(sum, ones, pairs) (Ints)_mm256_dpbusd_avx_epi32((__m256i)(sum), ones, ones)
#elif defined(__AVX512BW__)
#define INT8 "vpmaddubsw, vpmaddwd and vpaddd"
#define INT8_SUM Ints
#define INT8_BYTES __m512i
#define INT8_ONE(one) _mm512_set1_epi8(one)
#define INT8_PAIRS(one) _mm512_set1_epi16(one)
#define INT8_STEP(sum, ones, pairs)                                                                \
    (sum) + (Ints)_mm512_madd_epi16(_mm512_maddubs_epi16(ones, ones), pairs)
#elif defined(__AVX2__)
#define INT8 "vpmaddubsw, vpmaddwd and vpaddd"
#define INT8_SUM Ints256
#define INT8_BYTES __m256i
#define INT8_ONE(one) _mm256_set1_epi8(one)
#define INT8_PAIRS(one) _mm256_set1_epi16(one)
#define INT8_STEP(sum, ones, pairs)                                                                \
    (sum) + (Ints256)_mm256_madd_epi16(_mm256_maddubs_epi16(ones, ones), pairs)
typedef int32_t Ints256 __attribute__((vector_size(32)));
#elif defined(__SSSE3__)
#define INT8 "pmaddubsw, pmaddwd and paddd"
#define INT8_SUM Ints128
#define INT8_BYTES __m128i
#define INT8_ONE(one) _mm_set1_epi8(one)
#define INT8_PAIRS(one) _mm_set1_epi16(one)
#define INT8_STEP(sum, ones, pairs)                                                                \
    (sum) + (Ints128)_mm_madd_epi16(_mm_maddubs_epi16(ones, ones), pairs)
typedef int32_t Ints128 __attribute__((vector_size(16)));
#elif defined(__ARM_FEATURE_DOTPROD)
#define INT8 "sdot"
#define INT8_SUM int32x4_t
#define INT8_BYTES int8x16_t
#define INT8_ONE(one) vdupq_n_s8(one)
#define INT8_STEP(sum, ones, pairs) vdotq_s32(sum, ones, ones)
#endif
/* Where the products do not depend on the sum, a compiler that knew that the factors stay the same
 * would multiply once. */
#ifdef INT8_PAIRS
#define INT8_HIDE(ones) __asm__ volatile("" : "+x"(ones))
#else
#define INT8_PAIRS(one) 0
#define INT8_HIDE(ones)
#endif

#ifdef BF16
RUN bf16_run(int one) {
    UNKNOWN(one);
    BF16_SUM sums[SUMS];
    FILL(sums, float);
    for (int step = 0; step < STEPS; step++)
        for (int s = 0; s < SUMS; s++) sums[s] = BF16_STEP(sums[s], BF16_ONE(one));
    uint64_t total = 0;
    TOTAL(sums, float, total);
    UNKNOWN(total);
    return total;
}
#endif

#ifdef INT8
RUN int8_run(int one) {
    UNKNOWN(one);
    INT8_SUM sums[SUMS];
    INT8_BYTES ones = INT8_ONE(one);
    FILL(sums, int32_t);
    for (int step = 0; step < STEPS; step++) {
        for (int s = 0; s < SUMS; s++) {
            INT8_HIDE(ones);
            sums[s] = INT8_STEP(sums[s], ones, INT8_PAIRS(one));
        }
    }
    uint64_t total = 0;
    TOTAL(sums, int32_t, total);
    UNKNOWN(total);
    return total;
}
#endif

/* Reads `count` vectors of words that are all `one`; four at once, asked for 2 kB ahead. */
RUN read_run(const Words *words, size_t count) {
    UNKNOWN(words);
    Words sums[4] = {0};
    for (size_t n = 0; n < count; n += 4) {
        for (size_t s = 0; s < 4; s++) {
            __builtin_prefetch((const char *)(words + n + s) + 2048, 0, 0);
            sums[s] += words[n + s];
        }
    }
    uint64_t total = 0;
    for (int s = 0; s < 4; s++)
        for (size_t lane = 0; lane < sizeof(Words) / 8; lane++) total += sums[s][lane];
    UNKNOWN(total);
    return total * 8; /* bytes */
}

static const char *kind;
static int threads, one;
static double duration;
static size_t vectors; /* of each thread */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

/* A barrier that every system has: waits until all threads have come `round` times. It spins for
 * longer than others' time slices: a thread that yielded at once would not be running when the last
 * one comes, and on a busy machine they would never run at the same time. */
static void meet(atomic_long *arrived, long round) {
    atomic_fetch_add(arrived, 1);
    for (double began = now(); atomic_load(arrived) < round * threads;)
        if (now() > began + 0.01) sched_yield();
}

typedef struct {
    double began, ended;
    uint64_t sum;
    char apart[104]; /* threads write to cache lines of their own */
} Part;

static Part *parts;
static atomic_long at_start, at_end, at_next;
static atomic_int finished;

static uint64_t one_run(const Words *words) {
    if (!strcmp(kind, "read")) return read_run(words, vectors);
    if (!strcmp(kind, "fp32")) return fp32_run(one);
#ifdef BF16
    if (!strcmp(kind, "bf16")) return bf16_run(one);
#endif
#ifdef INT8
    if (!strcmp(kind, "int8")) return int8_run(one);
#endif
    return 0;
}

/* What one run of one thread amounts to: multiply-adds, or bytes. */
static uint64_t amount(void) {
    uint64_t step = BITS / 32; /* multiply-adds into one sum: of one float32 in each lane */
    if (!strcmp(kind, "read")) return vectors * sizeof(Words);
    if (!strcmp(kind, "bf16")) step = BITS / 16;
#ifdef INT8
    if (!strcmp(kind, "int8")) step = sizeof(INT8_SUM);
#endif
    return step * SUMS * (uint64_t)STEPS;
}

static void print_run(void) {
    double began = parts[0].began, ended = parts[0].ended;
    uint64_t sum = 0;
    for (int n = 0; n < threads; n++) {
        if (parts[n].began < began) began = parts[n].began;
        if (parts[n].ended > ended) ended = parts[n].ended;
        sum += parts[n].sum;
    }
    printf("%.9f %llu %llu\n", ended - began, (unsigned long long)amount() * threads,
           (unsigned long long)sum);
}

static void *work(void *argument) {
    Part *part = argument;
    Words *words = NULL;
    if (!strcmp(kind, "read")) {
        /* Touched by the thread that reads it: memory near its core. A page more, for prefetches. */
        if (posix_memalign((void **)&words, 4096, vectors * sizeof(Words) + 4096)) exit(3);
        for (size_t n = 0; n < vectors; n++) words[n] = (Words){0} + (uint64_t)one;
    }
    one_run(words); /* the clock rises, pages are mapped */
    double until = now() + duration;
    for (long round = 1;; round++) {
        meet(&at_start, round);
        part->began = now();
        part->sum = one_run(words);
        part->ended = now();
        meet(&at_end, round);
        if (part == parts) {
            print_run();
            atomic_store(&finished, now() >= until);
        }
        meet(&at_next, round);
        if (atomic_load(&finished)) break;
    }
    free(words);
    return NULL;
}

static int describe(void) {
    printf("{\"bits\": %d, ", BITS);
#if defined(__FMA__) || defined(__aarch64__)
    printf("\"fp32\": \"fused multiply-add\"");
#else
    printf("\"fp32\": \"multiply, then add\"");
#endif
#ifdef BF16
    printf(", \"bf16\": \"" BF16 "\"");
#endif
#ifdef INT8
    printf(", \"int8\": \"" INT8 "\"");
#endif
#ifdef __AMX_TILE__
    printf(", \"tiles\": \"AMX\"");
#endif
    printf("}\n");
    return 0;
}

static int known(const char *name) {
#ifdef BF16
    if (!strcmp(name, "bf16")) return 1;
#endif
#ifdef INT8
    if (!strcmp(name, "int8")) return 1;
#endif
    return !strcmp(name, "fp32") || !strcmp(name, "read");
}

int main(int count, char **arguments) {
    if (count == 2 && !strcmp(arguments[1], "describe")) return describe();
    if (count < 4) return 2;
    kind = arguments[1];
    threads = atoi(arguments[2]);
    duration = atof(arguments[3]);
    one = count / count;
    size_t bytes = (count > 4 ? strtoull(arguments[4], NULL, 10) : 512) << 20;
    vectors = bytes / sizeof(Words) / threads / 4 * 4;
    if (threads < 1 || vectors < 4 || !known(kind)) return 2;
    parts = calloc(threads, sizeof(Part));
    pthread_t *others = calloc(threads, sizeof(pthread_t));
    for (int n = 1; n < threads; n++)
        if (pthread_create(&others[n], NULL, work, &parts[n])) return 3;
    work(&parts[0]);
    for (int n = 1; n < threads; n++) pthread_join(others[n], NULL);
    free(others);
    free(parts);
    return 0;
}
