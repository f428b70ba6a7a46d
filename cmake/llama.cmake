# Target costeer_llama: llama.cpp from LLAMA_SOURCE_DIR, else an installed one, else the pinned version from the cache.
# Target costeer_llama_common: with the headers of its `common` library (cmake/llama-common), for the C++ files that use it.
# The archives of llama.cpp that a program linking libcosteer.a needs besides it and the common library's, in link order; empty when llama.cpp is
# installed on the system. And the files of both.
set(costeer_llama_static_libs "")
set(costeer_llama_archives "")
set(costeer_llama_is_pinned OFF) # built by scripts/llama-cpp, which can also build llama-server
set(costeer_llama_vocab_dir "") # vocabulary-only models of its source tree, for tests; may be empty

add_library(costeer_llama INTERFACE)
add_library(costeer_llama_common INTERFACE)

# The API has no version that can be asked for; what we use is compiled instead.
function(costeer_llama_usable out)
  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES ${ARGN} stdc++ m Threads::Threads)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  unset(COSTEER_LLAMA_API CACHE)
  check_c_source_compiles("
    #include <llama.h>
    int main(void) {
      struct llama_context_params c = llama_context_default_params();
      struct llama_model_params m = llama_model_default_params();
      c.n_outputs_max = 2; c.kv_unified = true; m.load_mode = LLAMA_LOAD_MODE_AUTO;
      return llama_version() == 0;
    }" COSTEER_LLAMA_API)
  set(${out} ${COSTEER_LLAMA_API} PARENT_SCOPE)
endfunction()

find_package(Threads REQUIRED)
if(LLAMA_SOURCE_DIR)
  if(NOT EXISTS "${LLAMA_SOURCE_DIR}/include/llama.h")
    message(FATAL_ERROR "LLAMA_SOURCE_DIR=${LLAMA_SOURCE_DIR}: no include/llama.h there; give the root of a llama.cpp source tree")
  endif()
  set(BUILD_SHARED_LIBS OFF)
  foreach(part IN ITEMS APP TESTS EXAMPLES TOOLS SERVER COMMON UI)
    set(LLAMA_BUILD_${part} OFF)
  endforeach()
  set(GGML_OPENMP OFF CACHE BOOL "")
  set(CMAKE_CXX_VISIBILITY_PRESET hidden)
  add_subdirectory("${LLAMA_SOURCE_DIR}" "${CMAKE_BINARY_DIR}/llama.cpp" EXCLUDE_FROM_ALL)
  add_subdirectory(cmake/llama-common EXCLUDE_FROM_ALL)
  target_link_libraries(costeer_llama INTERFACE llama-common-part llama)
  target_link_libraries(costeer_llama_common INTERFACE llama-common-part)
  set(costeer_llama_static_libs llama ggml ggml-cpu ggml-base)
  set(costeer_llama_archives "$<TARGET_FILE:llama-common-part>")
  foreach(lib IN LISTS costeer_llama_static_libs)
    list(APPEND costeer_llama_archives "$<TARGET_FILE:${lib}>")
  endforeach()
  set(costeer_llama_vocab_dir "${LLAMA_SOURCE_DIR}/models")
  message(STATUS "llama.cpp: from ${LLAMA_SOURCE_DIR}")
else()
  set(sanitize_args "")
  if(COSTEER_SANITIZE STREQUAL "thread")
    set(sanitize_args --sanitize thread) # uninstrumented thread pools look like races
  endif()
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/llama-cpp --common ${sanitize_args} OUTPUT_VARIABLE common_prefix
    OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "llama.cpp's common library could not be had (above); pass -DLLAMA_SOURCE_DIR=")
  endif()
  set(costeer_llama_archives "${common_prefix}/lib/libllama-common.a")
  target_link_libraries(costeer_llama INTERFACE "${common_prefix}/lib/libllama-common.a" OpenSSL::SSL OpenSSL::Crypto)
  target_include_directories(costeer_llama_common SYSTEM INTERFACE "${common_prefix}/include/llama-common")
  target_compile_definitions(costeer_llama_common INTERFACE CPPHTTPLIB_OPENSSL_SUPPORT)
  find_package(llama CONFIG QUIET)
  if(llama_FOUND)
    costeer_llama_usable(usable llama)
  endif()
  if(llama_FOUND AND usable)
    target_link_libraries(costeer_llama INTERFACE llama)
    message(STATUS "llama.cpp: installed, ${llama_DIR}")
  else()
    if(llama_FOUND)
      message(WARNING "the installed llama.cpp (${llama_DIR}) lacks functions that CoSteer uses; building the pinned version")
    endif()
    file(GLOB patches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/patches/*.patch)
    set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${patches} ${CMAKE_SOURCE_DIR}/scripts/llama-cpp)
    execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/llama-cpp ${sanitize_args} OUTPUT_VARIABLE prefix
      OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "llama.cpp could not be had (above); install it, or pass -DLLAMA_SOURCE_DIR=")
    endif()
    set(costeer_llama_static_libs llama ggml ggml-cpu ggml-base)
    set(libs "")
    foreach(lib IN LISTS costeer_llama_static_libs)
      list(APPEND libs "${prefix}/lib/lib${lib}.a")
    endforeach()
    target_include_directories(costeer_llama SYSTEM INTERFACE "${prefix}/include")
    target_link_libraries(costeer_llama INTERFACE ${libs} ${CMAKE_DL_LIBS})
    list(APPEND costeer_llama_archives ${libs})
    execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/llama-cpp --source OUTPUT_VARIABLE costeer_llama_vocab_dir
      OUTPUT_STRIP_TRAILING_WHITESPACE)
    string(APPEND costeer_llama_vocab_dir "/models")
    set(costeer_llama_is_pinned ON)
    message(STATUS "llama.cpp: pinned, ${prefix}")
  endif()
endif()
target_link_libraries(costeer_llama INTERFACE stdc++ m Threads::Threads)
