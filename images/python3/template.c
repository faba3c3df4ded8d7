/* The interpreter's entry: start in two halves, so that one can be done once.

     initialise()  everything up to the point where CPython would look at what
                   it is to run: modules, paths, site.  Depends on the image
                   alone: the environment is the image's, arguments are none,
                   and no byte of standard input is read.
     resume()      what belongs to one run: arguments, environment, standard
                   streams, site's look for what a user's image adds; then the
                   program, as CPython runs it.

   tools/build_images runs initialise() once and stores the memory that it
   leaves: that is the template, whose _start is resume().  Started the usual
   way, this program does one half after the other, so that both ways have the
   same heap, the same objects, the same clock.

   Options that change how an interpreter starts (-O, -X ..., PYTHONPATH) have no
   template: simple() is false, and CPython's own main does all.  Whoever chooses
   between program and template asks the same question (.zerocloud/image.json,
   "templates").  */

#include "Python.h"
#include "pycore_initconfig.h"
#include "pycore_interp.h"
#include "pycore_pystate.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <wasi/api.h>
#include <sys/stat.h>
#include <wasi/libc-environ.h>

#include "ending.c"
#include "image_environ.h" /* IMAGE_ENVIRON: "NAME=VALUE", ... of image.json */

extern PyStatus _Zerocloud_InitStreams(void); /* changes.json */
extern void __wasm_call_ctors(void);
extern void __wasm_call_dtors(void);
extern char **__wasilibc_environ;

struct arguments {
    size_t count;
    char **items;
};

/* The environment.  These three stand for those of the C library, which would
   ask the host before main() and keep what it says. */

static char *image_environ[] = {IMAGE_ENVIRON, NULL};

void __wasilibc_initialize_environ(void)
{
    __wasilibc_environ = image_environ;
}

void __wasilibc_ensure_environ(void)
{
}

void __wasilibc_deinitialize_environ(void)
{
    __wasilibc_environ = image_environ;
}

static void give_up(const char *what)
{
    fprintf(stderr, "python: cannot start: %s\n", what);
    _Exit(EX_OSERR);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        give_up("no memory for arguments and environment");
    }
    return memory;
}

static void load_environ(void)
{
    size_t count, size;
    if (__wasi_environ_sizes_get(&count, &size)) {
        give_up("no environment");
    }
    char **items = allocate(count + 1, sizeof *items);
    uint8_t *text = allocate(size + 1, 1);
    if (__wasi_environ_get((uint8_t **)items, text)) {
        give_up("no environment");
    }
    __wasilibc_environ = items;
}

static void load_arguments(struct arguments *arguments)
{
    size_t size;
    if (__wasi_args_sizes_get(&arguments->count, &size)) {
        give_up("no arguments");
    }
    arguments->items = allocate(arguments->count + 1, sizeof(char *));
    uint8_t *text = allocate(size + 1, 1);
    if (__wasi_args_get((uint8_t **)arguments->items, text)) {
        give_up("no arguments");
    }
}

/* Whether what CPython would make of arguments and environment leaves the first
   half of the start as it is. */

static int is_image_variable(const char *variable)
{
    for (char **known = image_environ; *known != NULL; known++) {
        if (strcmp(variable, *known) == 0) {
            return 1;
        }
    }
    return 0;
}

static int simple_arguments(size_t count, char **items)
{
    if (count == 0 || strchr(items[0], '/') != NULL) {
        return 0;
    }
    if (count == 1 || items[1][0] != '-' || items[1][1] == '\0') {
        return 1;
    }
    int has_operand = items[1][2] != '\0' || count > 2;
    return (items[1][1] == 'c' || items[1][1] == 'm') && has_operand;
}

static int simple_environment(char **items)
{
    size_t found = 0;
    for (char **item = items; *item != NULL; item++) {
        if (strncmp(*item, "PYTHON", 6) == 0) {
            if (!is_image_variable(*item)) {
                return 0;
            }
            found++;
        }
    }
    /* A variable of the image that is missing is a change as well. */
    return found == sizeof image_environ / sizeof *image_environ - 1;
}

/* Without a trace in the heap. */
static int simple(void)
{
    size_t count, size, variables, variables_size;
    if (__wasi_args_sizes_get(&count, &size)
        || __wasi_environ_sizes_get(&variables, &variables_size)) {
        return 0;
    }
    if (size > 1 << 20 || variables_size > 1 << 20
        || count > 1 << 16 || variables > 1 << 16) {
        return 0;
    }
    char *items[count + 1], *variable_items[variables + 1];
    uint8_t text[size + 1], variable_text[variables_size + 1];
    if (__wasi_args_get((uint8_t **)items, text)
        || __wasi_environ_get((uint8_t **)variable_items, variable_text)) {
        return 0;
    }
    items[count] = variable_items[variables] = NULL;
    return simple_arguments(count, items)
        && simple_environment(variable_items);
}

/* The first half. */

static void check(PyStatus status)
{
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
}

static PyObject *late_site; /* the second half's Python, compiled */

/* The device of a file system that is this image alone (docs/guest.md). */
#define IMAGE_DEVICE 1

static const char LATE_SITE[] =
    "import sys\n"
    "for finder in sys.path_importer_cache.values():\n"
    "    if hasattr(finder, 'invalidate_caches'):\n"
    "        finder.invalidate_caches()\n"
    "import site\n"
    "site.addsitepackages(set(sys.path))\n"
    "site.execsitecustomize()\n";

static void start_interpreter(void)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    check(Py_PreInitialize(&before));
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    char *arguments[] = {"python"};
    check(PyConfig_SetBytesArgv(&config, 1, arguments));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    late_site = Py_CompileString(LATE_SITE, "<site>", Py_file_input);
    if (late_site == NULL) {
        give_up("site");
    }
    _Zerocloud_Unobserved = unobserved;
    freeze_heap();
}

/* How often the clock was read in the first half: a template whose first half
   lies in the past must have the same time. */
static unsigned clock_readings;

__attribute__((export_name("initialise"))) void initialise(void)
{
    __wasm_call_ctors();
    start_interpreter();
}

__attribute__((export_name("set_clock_readings")))
void set_clock_readings(unsigned count)
{
    clock_readings = count;
}

/* The second half. */

static void set_list(PyWideStringList *list, struct arguments *arguments,
                     size_t first)
{
    PyWideStringList fresh = {0, NULL};
    for (size_t i = first; i < arguments->count; i++) {
        wchar_t *item = Py_DecodeLocale(arguments->items[i], NULL);
        if (item == NULL) {
            give_up("an argument cannot be decoded");
        }
        check(PyWideStringList_Append(&fresh, item));
        PyMem_RawFree(item);
    }
    _PyWideStringList_Clear(list);
    *list = fresh;
}

/* What `-c` has: the text with a line end; `-m` has the text alone. */
static wchar_t *operand(const char *text, const char *end)
{
    char *whole = allocate(strlen(text) + strlen(end) + 1, 1);
    strcat(strcpy(whole, text), end);
    wchar_t *decoded = Py_DecodeLocale(whole, NULL);
    if (decoded == NULL) {
        give_up("an argument cannot be decoded");
    }
    free(whole);
    return decoded;
}

static void absolute_file(PyConfig *config, const char *name)
{
    wchar_t *given = operand(name, ""), *absolute = NULL;
    config->run_filename = given;
    if (!_Py_isabs(given) && _Py_abspath(given, &absolute) == 0
        && absolute != NULL) {
        config->run_filename = absolute;
        PyMem_RawFree(given);
    }
}

/* As CPython's config_parse_cmdline and config_update_argv do. */
static void set_program(PyConfig *config, struct arguments *arguments)
{
    size_t first = 1;
    const char *word = arguments->count > 1 ? arguments->items[1] : NULL;
    if (word != NULL && word[0] == '-' && word[1] != '\0') {
        first = word[2] == '\0' ? 2 : 1;
        const char *text = first == 2 ? arguments->items[2] : word + 2;
        if (word[1] == 'c') {
            config->run_command = operand(text, "\n");
        }
        else {
            config->run_module = operand(text, "");
        }
        arguments->items[first] = word[1] == 'c' ? "-c" : "-m";
    }
    else if (word != NULL && word[0] != '-') {
        absolute_file(config, word);
    }
    set_list(&config->argv, arguments, first);
    if (config->argv.length == 0) {
        check(PyWideStringList_Append(&config->argv, L""));
    }
}

static void set_sys(const char *name, const PyWideStringList *list)
{
    PyObject *value = _PyWideStringList_AsList(list);
    if (value == NULL || PySys_SetObject(name, value) < 0) {
        give_up(name);
    }
    Py_DECREF(value);
}

/* posix.environ is what os.environ keeps its values in. */
static void set_posix_environ(void)
{
    PyObject *posix = PyImport_ImportModule("posix");
    PyObject *table = posix ? PyObject_GetAttrString(posix, "environ") : NULL;
    if (table == NULL) {
        give_up("posix.environ");
    }
    PyDict_Clear(table);
    for (char **item = __wasilibc_environ; *item != NULL; item++) {
        const char *equals = strchr(*item, '=');
        if (equals == NULL) {
            continue;
        }
        PyObject *name = PyBytes_FromStringAndSize(*item, equals - *item);
        PyObject *value = PyBytes_FromString(equals + 1);
        if (!name || !value || !PyDict_SetDefault(table, name, value)) {
            give_up("posix.environ");
        }
        Py_DECREF(name);
        Py_DECREF(value);
    }
    Py_DECREF(table);
    Py_DECREF(posix);
}

static void run_late_site(void)
{
    struct stat root;
    if (stat("/", &root) == 0 && root.st_dev == IMAGE_DEVICE) {
        return; /* nothing was added */
    }
    PyObject *names = PyDict_New();
    if (names == NULL
        || PyDict_SetItemString(names, "__builtins__",
                                PyEval_GetBuiltins()) < 0) {
        give_up("site");
    }
    PyObject *done = PyEval_EvalCode(late_site, names, names);
    Py_DECREF(names);
    Py_CLEAR(late_site);
    if (done == NULL) {
        /* site.execsitecustomize catches what it runs; SystemExit remains. */
        PyErr_Print();
        give_up("site");
    }
    Py_DECREF(done);
}

static int run(void)
{
    struct timespec now;
    for (unsigned i = 0; i < clock_readings; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    struct arguments arguments;
    load_arguments(&arguments);
    load_environ();
    PyInterpreterState *interpreter = _PyInterpreterState_GET();
    PyConfig *config =
        (PyConfig *)_PyInterpreterState_GetConfig(interpreter);
    set_list(&config->orig_argv, &arguments, 0);
    set_sys("orig_argv", &config->orig_argv);
    set_program(config, &arguments);
    set_sys("argv", &config->argv);
    set_posix_environ();
    check(_Zerocloud_InitStreams());
    run_late_site();
    return Py_RunMain();
}

/* _start of the template; ends as the C library's own _start does. */
__attribute__((export_name("resume"))) void resume(void)
{
    int code = run();
    __wasm_call_dtors();
    if (code != 0) {
        __wasi_proc_exit(code);
    }
}

/* What the C library's _start calls, in the place of main(). */
int __main_void(void)
{
    if (simple()) {
        start_interpreter();
        return run();
    }
    struct arguments arguments;
    load_arguments(&arguments);
    load_environ();
    return Py_BytesMain(arguments.count, arguments.items);
}
