/* The way from Python into native code without ctypes, which takes longer than a small step.

   Functions as CPython calls them, by its stable interface: (self, arguments, their number) -> an object. They hold
   its lock, and let it go while a program runs. FN_HEAD comes from outside: the bytes that every object begins with,
   of which the last are its type. Objects of Python are addresses here, and of arrays only that is read which NumPy's
   binary interface promises. */

#include <stddef.h>
#include <string.h>

typedef void *fn_object;
typedef struct { char *data; int axes; ptrdiff_t *shape, *strides; fn_object base, dtype; int flags; } fn_array;

/* What Python gives, in this order: functions of its interface, then types and None */
static struct {
    int (*dict_next)(fn_object, ptrdiff_t *, fn_object *, fn_object *);
    ptrdiff_t (*dict_size)(fn_object), (*list_size)(fn_object), (*tuple_size)(fn_object);
    fn_object (*list_item)(fn_object, ptrdiff_t), (*tuple_item)(fn_object, ptrdiff_t);
    ptrdiff_t (*as_size)(fn_object);
    char *(*bytes)(fn_object);
    int (*set_item)(fn_object, fn_object, fn_object);
    fn_object (*as_bool)(long);
    void *(*let_go)(void);
    void (*take_back)(void *);
    fn_object dict, list, tuple, array, none, all;
} fn_python;

enum { FN_PARAMS, FN_ITEMS, FN_NODES, FN_LEAVES, FN_FORMS, FN_VECTOR }; /* the fields of `Seen` */
enum { FN_MOST = 1 << 16, FN_IN_A_PIECE = 1 }; /* bytes that are copied under the lock; a flag of arrays */

void funcnet_bind(void *const *given) { memcpy(&fn_python, given, sizeof fn_python); }

static fn_object fn_type(fn_object x) { return *(fn_object *)((char *)x + FN_HEAD - sizeof(void *)); }
static const fn_array *fn_read(fn_object x) { return (const fn_array *)((char *)x + FN_HEAD); }
static fn_object fn_item(fn_object x, ptrdiff_t i) {
    return fn_type(x) == fn_python.list ? fn_python.list_item(x, i) : fn_python.tuple_item(x, i);
}

/* Whether a dict or a list holds the very keys and items that it held: a list, the keys first */
static int fn_is_as_it_was(fn_object node, fn_object held) {
    const ptrdiff_t count = fn_python.list_size(held);
    if (fn_type(node) == fn_python.dict) {
        const ptrdiff_t half = fn_python.dict_size(node);
        fn_object key, value;
        if (count != 2 * half) return 0;
        for (ptrdiff_t i = 0, place = 0; fn_python.dict_next(node, &place, &key, &value); i++)
            if (key != fn_python.list_item(held, i) || value != fn_python.list_item(held, half + i)) return 0;
        return 1;
    }
    if (fn_type(node) != fn_python.list || count != fn_python.list_size(node)) return 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (fn_python.list_item(node, i) != fn_python.list_item(held, i)) return 0;
    return 1;
}

/* Whether an array has these (strides, dtype) */
static int fn_has_form(fn_object x, fn_object form) {
    if (fn_type(x) != fn_python.array) return 0;
    const fn_array *const a = fn_read(x);
    const fn_object strides = fn_python.tuple_item(form, 0);
    if (a->dtype != fn_python.tuple_item(form, 1) || a->axes != fn_python.tuple_size(strides)) return 0;
    for (int i = 0; i < a->axes; i++)
        if (a->strides[i] != fn_python.as_size(fn_python.tuple_item(strides, i))) return 0;
    return 1;
}

/* The same as ParamsCache.recognise */
static int fn_recognises(fn_object seen, fn_object params, fn_object form) {
    const fn_object items = fn_python.tuple_item(seen, FN_ITEMS), nodes = fn_python.tuple_item(seen, FN_NODES);
    const fn_object leaves = fn_python.tuple_item(seen, FN_LEAVES), forms = fn_python.tuple_item(seen, FN_FORMS);
    if (items != fn_python.none) {
        if (fn_type(params) != fn_python.dict || !fn_is_as_it_was(params, items)) return 0;
    } else {
        if (params != fn_python.tuple_item(seen, FN_PARAMS)) return 0;
        for (ptrdiff_t i = 0, count = fn_python.list_size(nodes); i < count; i++) {
            const fn_object pair = fn_python.list_item(nodes, i);
            if (!fn_is_as_it_was(fn_python.tuple_item(pair, 0), fn_python.tuple_item(pair, 1))) return 0;
        }
    }
    for (ptrdiff_t i = 0, count = fn_python.list_size(forms); i < count; i++)
        if (!fn_has_form(fn_item(leaves, i), fn_python.list_item(forms, i))) return 0;
    const fn_object vector = fn_python.tuple_item(seen, FN_VECTOR);
    return vector == fn_python.none || fn_has_form(vector, form);
}

/* self: (arrays, the bytes of each, the form of a flat vector). Given (params last seen, params, a tuple of arrays),
   copy the arrays into the first ones; whether all is as it was and the arrays are of those shapes and dtypes. */
fn_object funcnet_accept(fn_object self, fn_object const *given, ptrdiff_t number) {
    const fn_object inside = fn_python.tuple_item(self, 0), bytes = fn_python.tuple_item(self, 1), arrays = given[2];
    const ptrdiff_t count = fn_python.tuple_size(inside);
    int fits = fn_python.tuple_size(arrays) == count;
    (void)number;
    for (ptrdiff_t i = 0; fits && i < count; i++) {
        const fn_object x = fn_python.tuple_item(arrays, i);
        const fn_array *const a = fn_read(x), *const own = fn_read(fn_python.tuple_item(inside, i));
        fits = fn_type(x) == fn_python.array && a->dtype == own->dtype && a->axes == own->axes &&
               !memcmp(a->shape, own->shape, (size_t)own->axes * sizeof(ptrdiff_t));
    }
    if (!fits || !fn_recognises(given[0], given[1], fn_python.tuple_item(self, 2))) return fn_python.as_bool(0);
    for (ptrdiff_t i = 0; i < count; i++) {
        const fn_object x = fn_python.tuple_item(arrays, i), own = fn_python.tuple_item(inside, i);
        const ptrdiff_t size = fn_python.as_size(fn_python.tuple_item(bytes, i));
        if ((fn_read(x)->flags & FN_IN_A_PIECE) && size <= FN_MOST) memcpy(fn_read(own)->data, fn_read(x)->data, size);
        else if (fn_python.set_item(own, fn_python.all, x)) return 0;
    }
    return fn_python.as_bool(1);
}

/* self: bytes, which are the address of a C function and of the table that it is given */
fn_object funcnet_call(fn_object self, fn_object const *given, ptrdiff_t number) {
    struct { void (*run)(void *const *); void *const *table; } at;
    memcpy(&at, fn_python.bytes(self), sizeof at);
    void *const thread = fn_python.let_go();
    (void)given; (void)number;
    at.run(at.table);
    fn_python.take_back(thread);
    return fn_python.as_bool(1);
}
