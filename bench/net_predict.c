/*
 * The model of docs/network.md. Stages that overlap are combined by their maximum, those that wait for each other by their sum.
 *
 * Streamed: the node makes a position every S, those inside a kept draft free. A correction leaves the device, R/2 later the node
 * abandons what it computes and begins the next position, which arrives S + R/2 after that: R later than without the correction.
 */
#include "net_predict.h"

/* A deepening is a round trip; one beyond what the node remembers is a step more. */
static double deepenings_us(const cs_net_rates *r)
{
    return r->deepenings * r->round_trip_us + r->recomputed * r->step_us;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* A window of W is told of every second token: W positions take a round trip and two steps. */
static double window_us(const cs_net_rates *r)
{
    return r->window < 1 ? 0.0 : (r->round_trip_us + 2.0 * r->step_us) / r->window;
}

double cs_net_predict_plain_us(const cs_net_rates *r)
{
    return larger(larger(r->step_us, r->think_us + r->follow_us), window_us(r));
}

/* Between corrections the node runs ahead by far less than the window: only plain streaming can be held up by it. */
static double streamed_us(const cs_net_rates *r)
{
    const double node_us = (1.0 - r->drafts) * r->step_us;
    const double device_us = r->think_us + r->follow_us;
    return larger(node_us, device_us) + r->corrections * (r->round_trip_us + r->correct_us) + deepenings_us(r);
}

/* A round is a round trip with a step in it; it yields the kept drafts and one token more. The SLM's steps over drafts follow. */
static double rounds_us(const cs_net_rates *r)
{
    const double rounds = 1.0 - r->drafts;
    return rounds * larger(r->round_trip_us + r->step_us, r->follow_us) + r->drafts * r->follow_us + r->think_us +
           deepenings_us(r);
}

double cs_net_predict_us(costeer_cloud_mode mode, const cs_net_rates *rates)
{
    return mode == COSTEER_MODE_STREAMED ? streamed_us(rates) : rounds_us(rates);
}
