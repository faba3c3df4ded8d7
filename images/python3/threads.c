/* Thread-specific data for the one thread there is.

   CPython keeps its thread state in it.  The C library's own version walks a
   ring of threads that a program with a single thread never links up, and so
   never comes back from pthread_key_delete. */
#include <errno.h>
#include <pthread.h>

#define KEYS 128

static struct {
    int used;
    const void *value;
} slots[KEYS];

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    (void)destructor; /* they run when a thread ends; ours is the process */
    for (pthread_key_t i = 0; i < KEYS; i++) {
        if (!slots[i].used) {
            slots[i].used = 1;
            slots[i].value = 0;
            *key = i;
            return 0;
        }
    }
    return EAGAIN;
}

int pthread_key_delete(pthread_key_t key)
{
    slots[key].used = 0;
    return 0;
}

void *(pthread_getspecific)(pthread_key_t key)
{
    return (void *)slots[key].value;
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
    slots[key].value = value;
    return 0;
}
