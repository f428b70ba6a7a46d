/*
 * Error codes by name, and the one function that fills a costeer_error.
 *
 * The object belongs to the caller, so there is no thread-local state and nothing to free. A message that is too long is cut,
 * never overrun. This file must never allocate: it is what reports that memory could not be had.
 */
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *costeer_err_name(costeer_err code)
{
    switch (code) {
    case COSTEER_OK:
        return "COSTEER_OK";
    case COSTEER_EINVAL:
        return "COSTEER_EINVAL";
    case COSTEER_ENOMEM:
        return "COSTEER_ENOMEM";
    case COSTEER_EIO:
        return "COSTEER_EIO";
    case COSTEER_EMODEL:
        return "COSTEER_EMODEL";
    case COSTEER_EPAIR:
        return "COSTEER_EPAIR";
    case COSTEER_ETOOLONG:
        return "COSTEER_ETOOLONG";
    case COSTEER_EUTF8:
        return "COSTEER_EUTF8";
    case COSTEER_ENUMERIC:
        return "COSTEER_ENUMERIC";
    case COSTEER_ECANCELED:
        return "COSTEER_ECANCELED";
    case COSTEER_ETIMEDOUT:
        return "COSTEER_ETIMEDOUT";
    case COSTEER_ESTATE:
        return "COSTEER_ESTATE";
    case COSTEER_ECLOUD:
        return "COSTEER_ECLOUD";
    case COSTEER_EINTERNAL:
        return "COSTEER_EINTERNAL";
    case COSTEER_EUNCERTIFIED:
        return "COSTEER_EUNCERTIFIED";
    case COSTEER_EABORTED:
        return "COSTEER_EABORTED";
    }
    return "unknown";
}

costeer_err cs_error_set(costeer_error *err, costeer_err code, const char *component, const char *format, ...)
{
    if (err == NULL) {
        return code;
    }
    err->code = code;
    (void)snprintf(err->component, sizeof err->component, "%s", component);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return code;
}
