from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('blocks', '0006_digest_block'),
    ]

    operations = [
        migrations.AlterField(
            model_name='purge',
            name='kind',
            field=models.CharField(choices=[('text', 'erased a piece of text'), ('revisions', 'removed the earlier revisions'), ('memory', 'removed the memory'), ('beside', 'erased a piece of text in what is no memory')], max_length=10),
        ),
    ]
