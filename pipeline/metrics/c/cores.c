/* How much of a region lies well inside it. */
#include "native.h"

/* A region drawn by itself: ``plane`` and two more of its size for work; its first row in them. */
typedef struct {
    uint64_t *plane;
    Rows rows;
    int64_t room; /* rows above and below the region, and bits right of it */
} Sheet;

static int64_t size_of(const Sheet *sheet)
{
    return sheet->rows.top + sheet->rows.words;
}

static int make_sheet(Sheet *sheet, const int64_t *box, int64_t depth)
{
    int64_t reach = depth + 2, down = (box[2] + reach + 63) / 64;
    sheet->room = depth + 1;
    sheet->rows = (Rows){(reach + 1) * down, down, (box[3] + 2 * sheet->room) * down};
    sheet->plane = PyMem_RawCalloc(3 * (size_t)size_of(sheet), 8);
    return sheet->plane != NULL;
}

FOR_NEWER_PROCESSORS
static int64_t count_without(const uint64_t *plane, const uint64_t *others, int64_t words)
{
    int64_t bits = 0;
    for (int64_t at = 0; at < words; at++)
        bits += __builtin_popcountll(plane[at] & ~others[at]);
    return bits;
}

/* Closed by a square of three, then eroded by one of 2 * depth + 1; as disagreement._core says. */
static int64_t core_of(const Sheet *sheet, int64_t depth)
{
    int64_t words = size_of(sheet), reach = depth + 2;
    uint64_t *windows = sheet->plane + words, *near = windows + words;
    const Rows *rows = &sheet->rows;
    memcpy(windows, sheet->plane, 8 * (size_t)words);
    widen(windows, words, 1, 3, rows->down);
    for (int64_t at = 0; at < words; at++)
        windows[at] = ~windows[at];
    widen(windows, words, 1, 2 * depth + 3, rows->down);
    move_up(windows + first_word(rows, reach), near, rows->words, reach);
    return count_without(sheet->plane + rows->top, near, rows->words);
}

typedef struct {
    const int64_t *places, *lengths, *numbers;
    int64_t count, span;
} NumberedRuns;

/* False where a run leaves the box. */
static int draw(const NumberedRuns *runs, int64_t number, const int64_t *box, Sheet *sheet)
{
    for (int64_t at = 0; at < runs->count; at++) {
        if (runs->numbers[at] != number)
            continue;
        int64_t row = runs->places[at] / runs->span,
                x = runs->places[at] - row * runs->span - box[0];
        int64_t y = row - box[1];
        if (x < 0 || runs->lengths[at] < 1 || x + runs->lengths[at] > box[2] || y < 0 ||
            y >= box[3])
            return 0;
        int64_t first = (sheet->rows.top + (sheet->room + y) * sheet->rows.down) * 64 + x;
        paint(sheet->plane, first, first + runs->lengths[at]);
    }
    return 1;
}

/* disagreement._cores: places, lengths and components of runs r r r, numbers of some components r,
 * their boxes r, the pixels of their cores w; positions from row to row, depth. */
DECLARED(native_cores)
{
    Arguments all;
    if (!take(&all, given, count, "rrrrrwnn"))
        return NULL;
    const int sizes[] = {8, 8, 8}, parts[] = {8, 4 * 8, 8};
    const Py_buffer *views = all.views;
    NumberedRuns runs = {views[0].buf, views[1].buf, views[2].buf, views[0].len / 8,
                         all.numbers[0]};
    int64_t depth = all.numbers[1], regions = views[3].len / 8;
    int fits = runs.span > 0 && depth > 0 && depth < 60 && are_of(views, sizes, 3, runs.count) &&
               are_of(views + 3, parts, 3, regions);
    for (int64_t at = 0; fits && at < regions; at++) {
        const int64_t *box = (const int64_t *)views[4].buf + 4 * at;
        Sheet sheet;
        fits = box[2] > 0 && box[3] > 0 && box[2] < 1 << 30 && box[3] < 1 << 30;
        if (!fits)
            break;
        if (!make_sheet(&sheet, box, depth)) {
            give_back(&all);
            return PyErr_NoMemory();
        }
        fits = draw(&runs, ((const int64_t *)views[3].buf)[at], box, &sheet);
        ((int64_t *)views[5].buf)[at] = core_of(&sheet, depth);
        PyMem_RawFree(sheet.plane);
    }
    return ended(&all, fits, 0);
}
