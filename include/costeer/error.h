/* Error codes and the error object that every fallible function can fill. */
#ifndef COSTEER_ERROR_H
#define COSTEER_ERROR_H

#include <costeer/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call. The numbers are part of the ABI and never change; 0 is success, errors are negative. */
typedef enum costeer_err {
    COSTEER_OK = 0,
    COSTEER_EINVAL = -1,       /**< an argument or parameter is out of range */
    COSTEER_ENOMEM = -2,       /**< memory could not be had */
    COSTEER_EIO = -3,          /**< a file could not be read or written */
    COSTEER_EMODEL = -4,       /**< a model file is missing, damaged, not GGUF, or cannot generate text */
    COSTEER_EPAIR = -5,        /**< two models cannot be paired */
    COSTEER_ETOOLONG = -6,     /**< a prompt does not fit the model's context window */
    COSTEER_EUTF8 = -7,        /**< text is not UTF-8 */
    COSTEER_ENUMERIC = -8,     /**< NaN, +inf or all −inf where a distribution is needed */
    COSTEER_ECANCELED = -9,    /**< the caller cancelled */
    COSTEER_ETIMEDOUT = -10,   /**< nothing arrived in time */
    COSTEER_ESTATE = -11,      /**< called out of order (for example commit before next) */
    COSTEER_ECLOUD = -12,      /**< the cloud failed or broke the protocol */
    COSTEER_EINTERNAL = -13,   /**< a bug in CoSteer or in an engine under it */
    COSTEER_EABORTED = -14,    /**< a callback of the caller asked to stop */
    COSTEER_EUNCERTIFIED = -15 /**< a choice could not be proved to be the full vocabulary's, and was required to be */
} costeer_err;

/** What went wrong, for a person. Owned by the caller; safe to pass NULL wherever one is accepted. */
typedef struct costeer_error {
    costeer_err code;
    char component[24]; /**< "model", "fuse", "session", … */
    char message[512];  /**< one line, no newline: what, where, what to do */
} costeer_error;

/** Return the stable name of a code, for example "COSTEER_EPAIR"; "unknown" for a foreign number. */
COSTEER_API const char *costeer_err_name(costeer_err code);

#ifdef __cplusplus
}
#endif
#endif
