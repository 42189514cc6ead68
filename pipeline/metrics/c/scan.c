/* Two masks in one pass: runs in which neither changes, and where each does. */
#include "native.h"
#include "pixels.h"

typedef struct {
    int64_t count, room;
    int64_t *places, *lengths;
    uint8_t *truth, *prediction;
} Runs;

static void free_runs(Runs *runs)
{
    PyMem_RawFree(runs->places);
    PyMem_RawFree(runs->lengths);
    PyMem_RawFree(runs->truth);
    PyMem_RawFree(runs->prediction);
}

static int grow(void **field, int64_t room, size_t size)
{
    void *larger = PyMem_RawRealloc(*field, (size_t)room * size);
    if (larger != NULL)
        *field = larger;
    return larger != NULL;
}

static int make_room(Runs *runs, int64_t more)
{
    if (runs->count + more <= runs->room)
        return 1;
    int64_t room = 2 * (runs->count + more);
    int made = grow((void **)&runs->places, room, 8) && grow((void **)&runs->lengths, room, 8) &&
               grow((void **)&runs->truth, room, 1) && grow((void **)&runs->prediction, room, 1);
    if (made)
        runs->room = room;
    return made;
}

static void add_run(Runs *runs, int64_t place, int64_t length, uint8_t truth, uint8_t prediction)
{
    runs->places[runs->count] = place;
    runs->lengths[runs->count] = length;
    runs->truth[runs->count] = truth;
    runs->prediction[runs->count++] = prediction;
}

static PyObject *runs_to_tuple(const Runs *runs)
{
    Py_ssize_t count = (Py_ssize_t)runs->count;
    return Py_BuildValue("(NNNN)",
                         PyByteArray_FromStringAndSize((const char *)runs->places, 8 * count),
                         PyByteArray_FromStringAndSize((const char *)runs->lengths, 8 * count),
                         PyByteArray_FromStringAndSize((const char *)runs->truth, count),
                         PyByteArray_FromStringAndSize((const char *)runs->prediction, count));
}

/* A pair of masks; its planes begin with the picture's first row. */
typedef struct {
    const uint8_t *truth, *prediction;
    int64_t height, width, words;
    uint8_t empty; /* values from it on are void */
    uint64_t *truth_blocks, *prediction_blocks;
} Pair;

/* A row of both masks, and its classes: all void is one, and void in the truth both. Beyond its
 * last pixel may be read, as far as whole words and a pixel more reach. */
typedef struct {
    const uint8_t *truth, *prediction;
    uint8_t *truth_classes, *prediction_classes;
} Row;

static uint8_t class_of(uint8_t value, uint8_t empty)
{
    return value < empty ? value : empty;
}

static uint8_t shared_class(uint8_t truth_class, uint8_t prediction, uint8_t empty)
{
    return truth_class == empty ? empty : class_of(prediction, empty);
}

/* Where a word would reach beyond the mask, its last rows are copied into ``room``. */
static const uint8_t *row_of(const Pair *pair, const uint8_t *mask, int64_t y, uint8_t *room)
{
    const uint8_t *first = mask + y * pair->width;
    if ((pair->height - 1 - y) * pair->width > 64)
        return first;
    memcpy(room, first, (size_t)pair->width);
    return room;
}

static void find_classes(const Row *row, int64_t width, uint8_t empty)
{
    for (int64_t x = 0; x < width; x++) {
        uint8_t truth = class_of(row->truth[x], empty);
        row->truth_classes[x] = truth;
        row->prediction_classes[x] = shared_class(truth, row->prediction[x], empty);
    }
}

/* Bits where the square of two that begins there holds two classes; rows above lie before. */
static void mark(const uint8_t *above, const uint8_t *here, uint64_t inside, uint64_t *block,
                 int64_t words)
{
    uint64_t sideways = differing(here, here + 1) & inside;
    *block = sideways;
    if (above != NULL)
        block[-words] |= sideways | differing(above, here);
}

/* Add the runs of 64 pixels: ``begins`` has their first bits. */
static void add_runs(Runs *runs, uint64_t begins, int64_t place, const uint8_t *truth,
                     const uint8_t *prediction)
{
    for (; begins; begins &= begins - 1) {
        int at = __builtin_ctzll(begins);
        add_run(runs, place + at, 0, truth[at], prediction[at]);
    }
}

static void scan_row(const Pair *pair, int64_t y, const Row *above, const Row *row, Runs *runs)
{
    int64_t place = y * pair->words * 64, first = runs->count;
    uint64_t begins =
        1; /* a run begins with the row, and after each pixel that is followed by another */
    for (int64_t x = 0, word = y * pair->words; x < pair->width; x += 64, word++) {
        uint64_t inside = first_bits(pair->width - 1 - x);
        uint64_t ends = (differing(row->truth + x, row->truth + x + 1) |
                         differing(row->prediction + x, row->prediction + x + 1)) &
                        inside;
        add_runs(runs, begins | ends << 1, place + x, row->truth + x, row->prediction + x);
        begins = ends >> 63;
        mark(above ? above->truth_classes + x : NULL, row->truth_classes + x, inside,
             pair->truth_blocks + word, pair->words);
        mark(above ? above->prediction_classes + x : NULL, row->prediction_classes + x, inside,
             pair->prediction_blocks + word, pair->words);
    }
    add_run(runs, place + pair->width, 0, pair->empty, pair->empty);
    for (int64_t at = first; at < runs->count - 1; at++)
        runs->lengths[at] = runs->places[at + 1] - runs->places[at];
}

/* False where memory runs out. */
static int scan_rows(const Pair *pair, Runs *runs)
{
    size_t room = (size_t)pair->words * 64 + 64;
    uint8_t *bytes = PyMem_RawCalloc(6, room);
    if (bytes == NULL)
        return 0;
    Row rows[2] = {{NULL, NULL, bytes, bytes + room},
                   {NULL, NULL, bytes + 2 * room, bytes + 3 * room}};
    int done = 1;
    for (int64_t y = 0; done && y < pair->height; y++) {
        Row *row = &rows[y & 1];
        row->truth = row_of(pair, pair->truth, y, bytes + 4 * room);
        row->prediction = row_of(pair, pair->prediction, y, bytes + 5 * room);
        find_classes(row, pair->width, pair->empty);
        done = make_room(runs, pair->width + 1);
        if (done)
            scan_row(pair, y, y ? &rows[~y & 1] : NULL, row, runs);
    }
    PyMem_RawFree(bytes);
    return done;
}

/* joint_runs.scan: masks r r, blocks w w, height, width, words to a row, words above, void. */
DECLARED(native_scan)
{
    Arguments all;
    if (!take(&all, given, count, "rrwwnnnnn"))
        return NULL;
    int64_t height = all.numbers[0], width = all.numbers[1], words = all.numbers[2];
    int64_t top = all.numbers[3], empty = all.numbers[4];
    const int bytes[] = {1, 1}, whole_words[] = {8, 8};
    int fits = height > 0 && width > 0 && words > width / 64 && top >= 0 && empty >= 0 &&
               empty < 256 && are_of(all.views, bytes, 2, height * width) &&
               are_of(all.views + 2, whole_words, 2, top + height * words);
    if (!fits)
        return ended(&all, 0, 0);
    Runs runs = {0};
    Pair pair = {all.views[0].buf,
                 all.views[1].buf,
                 height,
                 width,
                 words,
                 (uint8_t)empty,
                 (uint64_t *)all.views[2].buf + top,
                 (uint64_t *)all.views[3].buf + top};
    int done;
    Py_BEGIN_ALLOW_THREADS done = scan_rows(&pair, &runs);
    Py_END_ALLOW_THREADS PyObject *found = done ? runs_to_tuple(&runs) : PyErr_NoMemory();
    free_runs(&runs);
    give_back(&all);
    return found;
}

static int64_t merge(const Runs *from, Runs *into, uint8_t empty)
{
    int starts_row = 1;
    for (int64_t at = 0; at < from->count; at++) {
        uint8_t truth = class_of(from->truth[at], empty);
        uint8_t prediction = shared_class(truth, from->prediction[at], empty);
        int64_t last = into->count - 1, length = from->lengths[at];
        if (!starts_row && length && into->truth[last] == truth &&
            into->prediction[last] == prediction)
            into->lengths[last] += length;
        else
            add_run(into, from->places[at], length, truth, prediction);
        starts_row = !length;
    }
    return into->count;
}

/* JointRuns.of_classes: the runs r r r r, room for as many w w w w, void; how many are left. */
DECLARED(native_of_classes)
{
    Arguments all;
    if (!take(&all, given, count, "rrrrwwwwn"))
        return NULL;
    const int sizes[] = {8, 8, 1, 1, 8, 8, 1, 1};
    int64_t runs = all.views[2].len, empty = all.numbers[0], left = 0;
    Py_buffer *views = all.views;
    int fits = are_of(views, sizes, 8, runs) && empty >= 0 && empty < 256;
    if (fits) {
        Runs from = {runs, runs, views[0].buf, views[1].buf, views[2].buf, views[3].buf};
        Runs into = {0, runs, views[4].buf, views[5].buf, views[6].buf, views[7].buf};
        left = merge(&from, &into, (uint8_t)empty);
    }
    return ended(&all, fits, left);
}
