#include "native.h"

void give_back(Arguments *all)
{
    while (all->taken > 0)
        PyBuffer_Release(&all->views[--all->taken]);
}

static int take_one(Arguments *all, PyObject *given, char letter, int *numbers)
{
    if (letter == 'n') {
        all->numbers[*numbers] = PyLong_AsLongLong(given);
        return !(all->numbers[(*numbers)++] == -1 && PyErr_Occurred());
    }
    int flags = letter == 'w' ? PyBUF_WRITABLE : letter == 'm' ? PyBUF_STRIDED_RO : PyBUF_SIMPLE;
    if (PyObject_GetBuffer(given, &all->views[all->taken], flags) < 0)
        return 0;
    all->taken++;
    return 1;
}

int take(Arguments *all, PyObject *const *given, Py_ssize_t count, const char *letters)
{
    int numbers = 0;
    all->taken = 0;
    if (count != (Py_ssize_t)strlen(letters)) {
        PyErr_Format(PyExc_TypeError, "%zd arguments for \"%s\"", count, letters);
        return 0;
    }
    for (Py_ssize_t at = 0; at < count; at++)
        if (!take_one(all, given[at], letters[at], &numbers)) {
            give_back(all);
            return 0;
        }
    return 1;
}

PyObject *ended(Arguments *all, int fits, int64_t count)
{
    give_back(all);
    if (fits)
        return PyLong_FromLongLong(count);
    PyErr_SetString(PyExc_ValueError, "sizes or numbers do not fit together");
    return NULL;
}

int are_of(const Py_buffer *views, const int *sizes, int count, int64_t length)
{
    for (int at = 0; at < count; at++)
        if (views[at].len != length * sizes[at])
            return 0;
    return 1;
}
