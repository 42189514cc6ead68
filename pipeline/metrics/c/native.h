/* What the loops of this folder share: how they are called, and what they say of bad arguments.
 *
 * These are the loops of an audit over runs, bits and pixels. Each stands in for arrays in a
 * function of Python, which its comment names and which says what is computed; tests hold both to
 * the same rows. Where no compiler was at hand when the package was installed, arrays do it all.
 *
 * Arguments are buffers. Their types are the business of the callers in Python; their sizes are
 * checked here, and so is every number that is an index. Masks are of bytes, places and lengths of
 * runs int64, planes words of 64 bits, lowest bit first, as bit_planes.py says.
 */
#ifndef MASKMILL_NATIVE_H
#define MASKMILL_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are taken apart by builtins of GCC and Clang, lowest byte first"
#endif

/* Loops that the compiler also makes for AVX2, and so for an instruction that counts bits. Which of
 * both runs is found out when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define FOR_NEWER_PROCESSORS __attribute__((target_clones("avx2", "default")))
#else
#define FOR_NEWER_PROCESSORS
#endif

/* Raised whenever what these functions take or give changes; compiled.py asks for it, so that a
 * checkout whose Python is newer than what was built in it does without. */
#define INTERFACE 1

enum { MOST_BUFFERS = 9 };

typedef struct {
    Py_buffer views[MOST_BUFFERS];
    int64_t numbers[MOST_BUFFERS];
    int taken;
} Arguments;

/* By a letter each: r a buffer to read, w one to write to, m a mask whose rows may lie apart, n a
 * number. False: an error is set. */
int take(Arguments *all, PyObject *const *given, Py_ssize_t count, const char *letters);

void give_back(Arguments *all);

/* Ends a function: its count, or an error where sizes or numbers do not fit together. */
PyObject *ended(Arguments *all, int fits, int64_t count);

/* Whether so many buffers hold ``length`` items of these sizes. */
int are_of(const Py_buffer *views, const int *sizes, int count, int64_t length);

/* A picture's rows in planes that begin ``top`` words before them, ``down`` words to a row. */
typedef struct {
    int64_t top, down, words;
} Rows;

/* The word from which bits are moved up, for windows that begin ``reach`` before their pixel. */
int64_t first_word(const Rows *rows, int64_t reach);

/* Each bit of a plane takes on those of the square of ``wanted`` bits that begins there, from those
 * of a square of ``size``. */
void widen(uint64_t *plane, int64_t words, int64_t size, int64_t wanted, int64_t down);

/* So many words from ``from`` on, whose bits come from 0 to 63 bits before. */
void move_up(const uint64_t *from, uint64_t *into, int64_t words, int64_t bits);

/* The bits of a word that a run from ``first`` to before ``stop`` holds. */
static inline uint64_t bits_of_run(int64_t word, int64_t first, int64_t stop)
{
    uint64_t bits = ~(uint64_t)0;
    if (word == first >> 6)
        bits <<= first & 63;
    if (word == (stop - 1) >> 6)
        bits &= ~(uint64_t)0 >> (63 - ((stop - 1) & 63));
    return bits;
}

static inline void paint(uint64_t *plane, int64_t first, int64_t stop)
{
    for (int64_t word = first >> 6; word <= (stop - 1) >> 6; word++)
        plane[word] |= bits_of_run(word, first, stop);
}

#define DECLARED(name) PyObject *name(PyObject *self, PyObject *const *given, Py_ssize_t count)

DECLARED(native_scan);
DECLARED(native_of_classes);
DECLARED(native_add_counts);
DECLARED(native_add_pixels);
DECLARED(native_costs);
DECLARED(native_one_side);
DECLARED(native_widen);
DECLARED(native_around);
DECLARED(native_near);
DECLARED(native_count_near);
DECLARED(native_paint);
DECLARED(native_cores);
DECLARED(native_components);

#endif
