/* The interpreter's end, when nobody could tell what it does there.

   CPython's end takes everything apart: it clears modules and collects what was
   in them, so that destructors run and files are flushed.  With the standard
   library in memory that takes longer than a short program does.  What it does
   can be seen only through something that acts when it goes: an object with a
   finalizer (__del__, an open file, a generator that is in the middle), or a
   weak reference with a callback.  When the program has left nothing of that
   kind, the process may just end; unobserved() says so.

   freeze_heap() puts what the start has made aside, as gc.freeze() does: it is
   not the program's, it is no garbage, and no collection need walk over it.  An
   end that must be CPython's own takes it back.

   The same in the template and in the program without it.  */

#include "Python.h"
#include "pycore_gc.h"
#include "pycore_interp.h"
#include "pycore_pystate.h"

#include <string.h>

/* changes.json: Py_FinalizeEx() asks once exit functions have run. */
extern int (*_Zerocloud_Unobserved)(void);

static const char *const stream_names[] = {"stdin", "stdout", "stderr"};
#define STREAMS 3
#define LAYERS 3 /* text over buffer over raw */

static PyObject *streams[STREAMS * LAYERS]; /* while unobserved() runs */

static PyGC_Head *generation(int number)
{
    return &_PyInterpreterState_GET()->gc.generations[number].head;
}

static PyGC_Head *frozen(void)
{
    return &_PyInterpreterState_GET()->gc.permanent_generation.head;
}

/* Appends all of a list to another. */
static void move(PyGC_Head *from, PyGC_Head *to)
{
    PyGC_Head *first = _PyGCHead_NEXT(from), *last = _PyGCHead_PREV(from);
    if (first != from) {
        PyGC_Head *end = _PyGCHead_PREV(to);
        _PyGCHead_SET_NEXT(end, first);
        _PyGCHead_SET_PREV(first, end);
        _PyGCHead_SET_NEXT(last, to);
        _PyGCHead_SET_PREV(to, last);
    }
    from->_gc_next = from->_gc_prev = (uintptr_t)from;
}

static void freeze_heap(void)
{
    PyGC_Collect();
    for (int i = 0; i < NUM_GENERATIONS; i++) {
        move(generation(i), frozen());
        _PyInterpreterState_GET()->gc.generations[i].count = 0;
    }
}

/* Whether a type's instances act when they go. */
static int acts(PyTypeObject *type)
{
    return type->tp_finalize != NULL || type->tp_del != NULL;
}

/* Our own code only keeps its books in callbacks (weakref.py, _weakrefset.py,
   and abc in C). */
static int is_bookkeeping(PyObject *callback)
{
    static const char ours[] = "/usr/local/lib/python3.";
    if (PyCFunction_Check(callback)) {
        return 1;
    }
    if (!PyFunction_Check(callback)) {
        return 0;
    }
    PyCodeObject *code = (PyCodeObject *)PyFunction_GET_CODE(callback);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    return file != NULL && strncmp(file, ours, sizeof ours - 1) == 0;
}

static int is_stream(PyObject *object)
{
    for (int i = 0; i < STREAMS * LAYERS; i++) {
        if (streams[i] == object) {
            return 1;
        }
    }
    return 0;
}

static int can_tell(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (acts(type)) {
        return !is_stream(object);
    }
    if (PyWeakref_Check(object)) {
        PyObject *callback = ((PyWeakReference *)object)->wr_callback;
        return callback != NULL && !is_bookkeeping(callback);
    }
    /* Instances that no collection knows of are found by their class. */
    return PyType_Check(object) && !PyType_IS_GC((PyTypeObject *)object)
        && acts((PyTypeObject *)object);
}

/* The standard streams as they were made, if the program still has them in
   their places; they have been flushed by now. */
static int find_streams(void)
{
    static const char *const below[] = {NULL, "buffer", "raw"};
    char original[16];
    for (int i = 0; i < STREAMS; i++) {
        strcat(strcat(strcpy(original, "__"), stream_names[i]), "__");
        PyObject *object = PySys_GetObject(original);
        if (object == NULL || object != PySys_GetObject(stream_names[i])) {
            return 0;
        }
        /* Borrowed: each holds the one below. */
        for (int layer = 0; layer < LAYERS; layer++) {
            if (layer > 0) {
                object = PyObject_GetAttrString(object, below[layer]);
                if (object == NULL) {
                    PyErr_Clear();
                    return 0;
                }
                Py_DECREF(object);
            }
            streams[i * LAYERS + layer] = object;
        }
    }
    return 1;
}

static int unobserved(void)
{
    int found = find_streams();
    for (int i = 0; found && i < NUM_GENERATIONS; i++) {
        PyGC_Head *list = generation(i), *item = _PyGCHead_NEXT(list);
        for (; found && item != list; item = _PyGCHead_NEXT(item)) {
            found = !can_tell((PyObject *)(item + 1));
        }
    }
    memset(streams, 0, sizeof streams);
    if (!found) {
        move(frozen(), generation(NUM_GENERATIONS - 1));
    }
    return found;
}
