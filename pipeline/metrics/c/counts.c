/* Pairs of values counted, of runs and of pixels; and the runs of one mask of two. */
#include "native.h"
#include "pixels.h"

/* A matrix that is added to: values -> rows and columns of it. */
typedef struct {
    const uint16_t *rows, *columns;
    int64_t *cells;
    int64_t side;
} Matrix;

/* Of tables of 256 entries each, cells and side; false where an entry is outside. */
static int open_matrix(Matrix *matrix, const Py_buffer *views, int64_t side)
{
    const int table[] = {2, 2}, cells[] = {8};
    *matrix = (Matrix){views[0].buf, views[1].buf, views[2].buf, side};
    int fits = side > 0 && side < 1 << 17 && are_of(views, table, 2, 256) &&
               are_of(views + 2, cells, 1, side * side);
    for (int value = 0; fits && value < 256; value++)
        fits = matrix->rows[value] < side && matrix->columns[value] < side;
    return fits;
}

static inline void add(const Matrix *matrix, uint8_t truth, uint8_t prediction, int64_t pixels)
{
    matrix->cells[matrix->rows[truth] * matrix->side + matrix->columns[prediction]] += pixels;
}

/* confusion.count_runs: values r r, lengths r, tables r r, cells w, side. */
DECLARED(native_add_counts)
{
    Arguments all;
    if (!take(&all, given, count, "rrrrrwn"))
        return NULL;
    const Py_buffer *views = all.views;
    const uint8_t *truth = views[0].buf, *prediction = views[1].buf;
    const int64_t *lengths = views[2].buf;
    const int sizes[] = {1, 1, 8};
    Matrix matrix;
    int fits =
        open_matrix(&matrix, views + 3, all.numbers[0]) && are_of(views, sizes, 3, views[0].len);
    for (int64_t at = 0; fits && at < views[0].len; at++)
        add(&matrix, truth[at], prediction[at], lengths[at]);
    return ended(&all, fits, 0);
}

static void add_row(const Matrix *matrix, const uint8_t *truth, const uint8_t *prediction,
                    int64_t width)
{
    int64_t start = 0;
    uint8_t ends[2][65]; /* nothing is read beyond a row: it may be the last one */
    for (int64_t x = 0; x < width - 1; x += 64) {
        const uint8_t *here = truth + x, *there = prediction + x;
        if (width - x < 65) {
            memset(ends, 0, sizeof ends);
            here = memcpy(ends[0], here, (size_t)(width - x));
            there = memcpy(ends[1], there, (size_t)(width - x));
        }
        uint64_t changes =
            (differing(here, here + 1) | differing(there, there + 1)) & first_bits(width - 1 - x);
        for (; changes; changes &= changes - 1) {
            int64_t last = x + __builtin_ctzll(changes);
            add(matrix, truth[last], prediction[last], last + 1 - start);
            start = last + 1;
        }
    }
    add(matrix, truth[width - 1], prediction[width - 1], width - start);
}

static int is_mask(const Py_buffer *view)
{
    return view->ndim == 2 && view->itemsize == 1 && view->strides[1] == 1;
}

/* confusion.count_pair: masks m m, tables r r, cells w, side. */
DECLARED(native_add_pixels)
{
    Arguments all;
    if (!take(&all, given, count, "mmrrwn"))
        return NULL;
    const Py_buffer *truth = &all.views[0], *prediction = &all.views[1];
    Matrix matrix;
    int fits = open_matrix(&matrix, all.views + 2, all.numbers[0]) && is_mask(truth) &&
               is_mask(prediction) && truth->shape[0] == prediction->shape[0] &&
               truth->shape[1] == prediction->shape[1];
    if (fits && truth->len) {
        Py_BEGIN_ALLOW_THREADS for (int64_t y = 0; y < truth->shape[0]; y++)
            add_row(&matrix, (const uint8_t *)truth->buf + y * truth->strides[0],
                    (const uint8_t *)prediction->buf + y * prediction->strides[0], truth->shape[1]);
        Py_END_ALLOW_THREADS
    }
    return ended(&all, fits, 0);
}

/* Prints of class maps: places, lengths, classes r r r; room for flat positions of 32 bits and for
 * classes of 16 w w; bits and pixels in a row. How many runs of one class there are. */
DECLARED(native_one_side)
{
    Arguments all;
    if (!take(&all, given, count, "rrrwwnn"))
        return NULL;
    const Py_buffer *views = all.views;
    const int64_t *places = views[0].buf, *lengths = views[1].buf;
    const uint16_t *classes = views[2].buf;
    uint32_t *positions = views[3].buf;
    uint16_t *kept = views[4].buf;
    const int sizes[] = {8, 8, 2, 4, 2};
    int64_t runs = views[2].len / 2, span = all.numbers[0], width = all.numbers[1], left = 0;
    int fits = are_of(views, sizes, 5, runs) && span > 0, starts_row = 1;
    for (int64_t at = 0; fits && at < runs; at++) {
        if (lengths[at] && (starts_row || classes[at] != kept[left - 1])) {
            positions[left] = (uint32_t)(places[at] - places[at] / span * (span - width));
            kept[left++] = classes[at];
        }
        starts_row = !lengths[at];
    }
    return ended(&all, fits, left);
}
