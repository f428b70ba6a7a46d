/* Version of the library and the macro that exports its public symbols. */
#ifndef COSTEER_VERSION_H
#define COSTEER_VERSION_H

#define COSTEER_VERSION_MAJOR 0
#define COSTEER_VERSION_MINOR 1
#define COSTEER_VERSION_PATCH 0
#define COSTEER_VERSION       "0.1.0"

#if defined(__GNUC__)
#define COSTEER_API __attribute__((visibility("default")))
#else
#define COSTEER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Return the version of the library that is linked, for example "0.1.0"; compare with COSTEER_VERSION. */
COSTEER_API const char *costeer_version(void);

/** Return the version of the llama.cpp that is linked, for example "v0.5.0". */
COSTEER_API const char *costeer_version_llama(void);

#ifdef __cplusplus
}
#endif
#endif
