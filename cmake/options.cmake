# What every target of ours is compiled with. Exactness: no fast-math, and no contraction of a*b+c, so that a score is the same
# number on every instruction set.
add_library(costeer_options INTERFACE)
target_compile_options(costeer_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes> -Wvla -Wformat=2 -Werror
  -ffp-contract=off -fno-common)
target_compile_definitions(costeer_options INTERFACE _POSIX_C_SOURCE=200809L)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(costeer_options INTERFACE -fstack-protector-strong)
  target_compile_definitions(costeer_options INTERFACE _FORTIFY_SOURCE=2)
endif()
if(COSTEER_SANITIZE)
  target_compile_options(costeer_options INTERFACE -fsanitize=${COSTEER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(costeer_options INTERFACE -fsanitize=${COSTEER_SANITIZE})
endif()
