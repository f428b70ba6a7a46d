/* Prompts take turns: see turn.h. One flag under one mutex; first come is not first served, as pieces are short. */
#include "core/turn.h"

#include <pthread.h>
#include <time.h>

/* How late a stop may be noticed while another prompt is computed. */
#define CHECK_EVERY_NS 20000000L
#define NS_PER_S       1000000000L

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given = PTHREAD_COND_INITIALIZER;
static bool is_taken;

static void wait_a_little(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += CHECK_EVERY_NS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    (void)pthread_cond_timedwait(&given, &mutex, &until);
}

bool cs_turn_take(bool (*stop)(void *user), void *user)
{
    bool is_stopped = false;
    (void)pthread_mutex_lock(&mutex);
    while (is_taken && !is_stopped) {
        wait_a_little();
        is_stopped = is_taken && stop != NULL && stop(user);
    }
    is_taken = is_taken || !is_stopped;
    (void)pthread_mutex_unlock(&mutex);
    return !is_stopped;
}

void cs_turn_give(void)
{
    (void)pthread_mutex_lock(&mutex);
    is_taken = false;
    (void)pthread_cond_signal(&given);
    (void)pthread_mutex_unlock(&mutex);
}
