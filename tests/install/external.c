/* An external program: load both models and check that they can be paired. */
#include <costeer/costeer.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    costeer_model *models[2] = {NULL, NULL};
    costeer_error err = {0};
    int status = 1;
    if (argc != 3 || strcmp(costeer_version(), COSTEER_VERSION) != 0)
        return 2;
    for (int i = 0; i < 2; i++) {
        if (costeer_model_load(argv[i + 1], NULL, &models[i], &err) != COSTEER_OK)
            goto out;
    }
    if (costeer_model_check_pair(models[0], models[1], &err) == COSTEER_OK)
        status = 0;
out:
    if (status != 0)
        fprintf(stderr, "%s\n", err.message);
    costeer_model_free(models[0]);
    costeer_model_free(models[1]);
    return status;
}
