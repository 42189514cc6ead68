/* The module: what Python sees of these loops. */
#include "native.h"

#define FUNCTION(name) {#name, (PyCFunction)(void (*)(void))native_##name, METH_FASTCALL, NULL}

static PyMethodDef functions[] = {
    FUNCTION(scan),       FUNCTION(of_classes),  FUNCTION(one_side), FUNCTION(add_counts),
    FUNCTION(add_pixels), FUNCTION(widen),       FUNCTION(around),   FUNCTION(near),
    FUNCTION(count_near), FUNCTION(paint),       FUNCTION(cores),    FUNCTION(components),
    FUNCTION(costs),      {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module)
{
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_native",
    "Loops over runs and bits; see compiled.py.",
    0,
    functions,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
