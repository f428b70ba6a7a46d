/* The version of the library that is linked; llama.cpp's own is told by core/model.c, which alone knows it. */
#include <costeer/version.h>

const char *costeer_version(void)
{
    return COSTEER_VERSION;
}
