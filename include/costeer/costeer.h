/* CoSteer: use a large language model as if it knew you, without it seeing what you told the small one. Includes everything. */
#ifndef COSTEER_H
#define COSTEER_H

#include <costeer/batcher.h>
#include <costeer/cloud.h>
#include <costeer/engine.h>
#include <costeer/ensemble.h>
#include <costeer/error.h>
#include <costeer/eval.h>
#include <costeer/gate.h>
#include <costeer/hub.h>
#include <costeer/log.h>
#include <costeer/method.h>
#include <costeer/metrics.h>
#include <costeer/model.h>
#include <costeer/node.h>
#include <costeer/prompt.h>
#include <costeer/report.h>
#include <costeer/sampler.h>
#include <costeer/select.h>
#include <costeer/session.h>
#include <costeer/stats.h>
#include <costeer/steer.h>
#include <costeer/version.h>
#include <costeer/vocab.h>
#include <costeer/wire.h>

#endif
