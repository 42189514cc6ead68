/* Planes of bits: widened, and counted in runs. */
#include "native.h"

/* In place: what is read lies ahead of what is written. */
FOR_NEWER_PROCESSORS
void widen(uint64_t *plane, int64_t words, int64_t size, int64_t wanted, int64_t down)
{
    while (size < wanted) {
        int64_t step = size < wanted - size ? size : wanted - size;
        int64_t ahead = step / 64, bits = step % 64, stop = words - ahead, at = 0;
        if (bits)
            for (; at < stop - 1; at++)
                plane[at] |= plane[at + ahead] >> bits | plane[at + ahead + 1] << (64 - bits);
        for (; at < stop; at++)
            plane[at] |= plane[at + ahead] >> bits;
        for (at = 0; at < words - step * down; at++)
            plane[at] |= plane[at + step * down];
        size += step;
    }
}

FOR_NEWER_PROCESSORS
void move_up(const uint64_t *from, uint64_t *into, int64_t words, int64_t bits)
{
    if (!bits)
        memcpy(into, from, 8 * (size_t)words);
    for (int64_t at = 0; bits && at < words; at++)
        into[at] = from[at] << bits | from[at - 1] >> (64 - bits);
}

/* PlaneLayout.widened: a plane w, from squares of, to squares of, words to a row. */
DECLARED(native_widen)
{
    Arguments all;
    if (!take(&all, given, count, "wnnn"))
        return NULL;
    int64_t size = all.numbers[0], wanted = all.numbers[1], down = all.numbers[2];
    int fits =
        all.views[0].len % 8 == 0 && size > 0 && wanted < 1 << 30 && down > 0 && down < 1 << 30;
    if (fits)
        widen(all.views[0].buf, all.views[0].len / 8, size, wanted, down);
    return ended(&all, fits, 0);
}

int64_t first_word(const Rows *rows, int64_t reach)
{
    return rows->top - reach * rows->down - reach / 64;
}

static int have_room(const Rows *rows, int64_t reach, int64_t words)
{
    return reach >= 0 && reach < 1 << 30 && rows->down > 0 && rows->down < 1 << 30 &&
           rows->words >= 0 && first_word(rows, reach) > 0 && rows->top + rows->words <= words;
}

/* PlaneLayout.around: windows r, the words to fill w, how far they reach, words above, to a row. */
DECLARED(native_around)
{
    Arguments all;
    if (!take(&all, given, count, "rwnnn"))
        return NULL;
    int64_t reach = all.numbers[0];
    Rows rows = {all.numbers[1], all.numbers[2], all.views[1].len / 8};
    int fits = all.views[1].len % 8 == 0 && have_room(&rows, reach, all.views[0].len / 8);
    if (fits)
        move_up((const uint64_t *)all.views[0].buf + first_word(&rows, reach), all.views[1].buf,
                rows.words, reach % 64);
    return ended(&all, fits, 0);
}

/* What is near borders: of the truth's, within each of ``widths``; then of the truth's and of the
 * prediction's, within ``width`` or in ``frame``; then of both. */
static void fill_near(uint64_t *windows[2], const Rows *rows, int64_t words, const int64_t *widths,
                      int64_t num_widths, int64_t width, const uint64_t *frame, uint64_t *near)
{
    uint64_t *own[2] = {near + num_widths * rows->words, near + (num_widths + 1) * rows->words};
    int64_t reached = 1, place = 0;
    for (int sides = 2; place < num_widths || sides == 2;) {
        int is_own = sides == 2 && (place == num_widths || width <= widths[place]);
        int64_t next = is_own ? width : widths[place], start = first_word(rows, next);
        for (int side = 0; side < sides; side++)
            widen(windows[side], words, reached, 2 * next, rows->down);
        reached = 2 * next;
        if (is_own) {
            for (int side = 0; side < 2; side++)
                move_up(windows[side] + start, own[side], rows->words, next % 64);
            sides = 1;
        } else
            move_up(windows[0] + start, near + place++ * rows->words, rows->words, next % 64);
    }
    for (int64_t at = 0; at < rows->words; at++) {
        own[0][at] |= frame[at];
        own[1][at] |= frame[at];
        own[1][at + rows->words] = own[0][at] & own[1][at];
    }
}

/* boundary._near_planes: blocks of the truth and of the prediction w w, to be used up, widths
 * ascending r, frame r, planes to fill w, one more width, words above, words to a row. */
DECLARED(native_near)
{
    Arguments all;
    if (!take(&all, given, count, "wwrrwnnn"))
        return NULL;
    const Py_buffer *views = all.views;
    const int64_t *widths = views[2].buf;
    uint64_t *windows[2] = {views[0].buf, views[1].buf};
    int64_t words = views[0].len / 8, num_widths = views[2].len / 8, width = all.numbers[0];
    Rows rows = {all.numbers[1], all.numbers[2], views[3].len / 8};
    const int sizes[] = {8, 8};
    int fits = are_of(views, sizes, 2, words) && views[2].len % 8 == 0 && views[3].len % 8 == 0 &&
               views[4].len == 8 * (num_widths + 3) * rows.words && width > 0 &&
               have_room(&rows, width, words);
    for (int64_t at = 0, last = 0; fits && at < num_widths; last = widths[at++])
        fits = widths[at] > last && have_room(&rows, widths[at], words);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS fill_near(windows, &rows, words, widths, num_widths, width,
                                         views[3].buf, views[4].buf);
        Py_END_ALLOW_THREADS
    }
    return ended(&all, fits, 0);
}

/* bit_planes.painted: first and last (stop) positions of runs r r, the plane w. */
DECLARED(native_paint)
{
    Arguments all;
    if (!take(&all, given, count, "rrw"))
        return NULL;
    const int64_t *starts = all.views[0].buf, *stops = all.views[1].buf;
    uint64_t *plane = all.views[2].buf;
    int64_t runs = all.views[0].len / 8, bits = all.views[2].len * 8;
    const int sizes[] = {8, 8};
    int fits = are_of(all.views, sizes, 2, runs) && bits % 64 == 0;
    for (int64_t at = 0; fits && at < runs; at++) {
        fits = starts[at] >= 0 && starts[at] < stops[at] && stops[at] <= bits;
        if (fits)
            paint(plane, starts[at], stops[at]);
    }
    return ended(&all, fits, 0);
}

FOR_NEWER_PROCESSORS
static void count_run(const uint64_t *planes, int64_t num_planes, int64_t words, int64_t first,
                      int64_t length, int64_t *sums, int64_t step)
{
    int64_t stop = first + length;
    for (int64_t word = first >> 6; word <= (stop - 1) >> 6; word++) {
        uint64_t inside = bits_of_run(word, first, stop);
        for (int64_t plane = 0; plane < num_planes; plane++)
            sums[plane * step] += __builtin_popcountll(planes[plane * words + word] & inside);
    }
}

/* Pixels near borders: planes r, runs r r r r, the place of each class among those that occur r,
 * sums w of planes * side * (side + 1); planes, side, the position at which the planes begin. */
DECLARED(native_count_near)
{
    Arguments all;
    if (!take(&all, given, count, "rrrrrrwnnn"))
        return NULL;
    const Py_buffer *views = all.views;
    const int64_t *places = views[1].buf, *lengths = views[2].buf, *numbers = views[5].buf;
    const uint8_t *truth = views[3].buf, *prediction = views[4].buf;
    int64_t planes = all.numbers[0], side = all.numbers[1], begin = all.numbers[2];
    int64_t runs = views[3].len, classes = views[5].len / 8, cells = side * (side + 1);
    int64_t words = planes > 0 ? views[0].len / 8 / planes : 0;
    const int plane[] = {8}, sizes[] = {8, 8, 1, 1};
    int fits = planes > 0 && side > 0 && side < 1 << 16 &&
               are_of(views, plane, 1, planes * words) && are_of(views + 1, sizes, 4, runs) &&
               are_of(views + 6, plane, 1, planes * cells);
    for (int64_t at = 0; fits && at < classes; at++)
        fits = numbers[at] >= 0 && numbers[at] <= side;
    for (int64_t at = 0; fits && at < runs; at++) {
        fits = truth[at] < classes && prediction[at] < classes && places[at] >= begin &&
               lengths[at] >= 0 && places[at] - begin + lengths[at] <= words * 64;
        if (fits && lengths[at] && numbers[truth[at]] < side)
            count_run(views[0].buf, planes, words, places[at] - begin, lengths[at],
                      (int64_t *)views[6].buf + numbers[truth[at]] * (side + 1) +
                          numbers[prediction[at]],
                      cells);
    }
    return ended(&all, fits, 0);
}
